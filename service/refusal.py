"""The status and the sentence of each error."""

import math
from functools import lru_cache

import structlog

from service import errors
from service.answer import JSON, Answer, Header, to_json
from service.errors import DigitscopeError
from service.metrics import Metrics

STATUSES: dict[type[DigitscopeError], int] = {
    errors.MalformedError: 400,
    errors.UnauthenticatedError: 401,
    errors.ForbiddenError: 403,
    errors.UnknownError: 404,
    errors.TooLargeError: 413,
    errors.NotAPictureError: 415,
    errors.LimitedError: 429,
    errors.VersionError: 400,  # as Triton's repository extension has it
    errors.GoneError: 499,  # as nginx notes a caller who has gone; nobody reads it
    errors.EngineError: 500,
    errors.OverloadedError: 503,
    errors.NotReadyError: 503,
    errors.ModelError: 503,
    errors.ProviderError: 503,
    errors.AddressError: 503,
    errors.TelemetryError: 503,
    errors.DeadlineError: 504,
}
"""The status of each error, for those that a request can meet and those that keep the service from starting."""

_NAMES = {kind: kind.__name__.removesuffix("Error") for kind in STATUSES}

FAILURE = "the service failed on this request; its log has the cause"
"""What is said where nothing else is known."""

TOO_LATE = "the time given for the request has passed"
"""What is said where work was ended by the clock."""

_CHALLENGE = (b"www-authenticate", b'Bearer realm="digitscope"')  # RFC 6750, section 3
_log = structlog.get_logger("digitscope")


def sentence(error: DigitscopeError) -> str:
    """What the error says; it may quote a name that is no text."""
    return _legible(str(error))


def _legible(said: str) -> str:
    return said.encode(errors="replace").decode()


def note(error: DigitscopeError, metrics: Metrics) -> None:
    """Counts an error that a request met; what the engine itself said of it goes into the log."""
    metrics.refused(_NAMES[type(error)])
    if isinstance(error, errors.EngineError):
        _log.error("engine failed", exc_info=error.__cause__)


def refusal(error: DigitscopeError, metrics: Metrics) -> Answer:
    """The answer to a request that met an error, which is counted."""
    note(error, metrics)
    status = STATUSES[type(error)]
    return Answer(*_answer(str(error), status, error.wait), status)


@lru_cache(maxsize=256)  # under overload it is the same sentence thousands of times a second
def _answer(said: str, status: int, wait: float | None) -> tuple[bytes, tuple[Header, ...]]:
    """The body and the headers of the answer to an error."""
    headers: tuple[Header, ...] = (JSON,)
    if status == 401:
        headers += (_CHALLENGE,)
    if wait is not None:
        headers += ((b"retry-after", b"%d" % math.ceil(wait)),)
    return to_json({"error": _legible(said)}), headers


def failure() -> Answer:
    """The answer to a request on which the service failed in a way that nobody had foreseen."""
    return Answer(to_json({"error": FAILURE}), status=500)
