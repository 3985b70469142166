"""What is asked again, when, and for how long."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay

from client.errors import TransientError

_FIRST, _LONGEST = 0.1, 10.0  # seconds
_FAR = 1e9  # seconds, beyond which none are told apart


def backoff(attempt: int, after: float = 0, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many attempts, from 1 on, and at least what the service asks for.

    The wait doubles each time up to ten seconds, and half of it is left to chance, so that those who failed together
    do not come back together (M. Brooker, "Exponential Backoff And Jitter", 2015).
    """
    wait = min(_LONGEST, _FIRST * 2.0 ** min(attempt - 1, 16))
    return after + wait * (0.5 + chance() / 2)


def retry_after(header: str | None, now: datetime | None = None) -> float:
    """Seconds of a Retry-After header, which has a number of them or a date (RFC 9110, section 10.2.3); else 0.

    At most 1e9, however many or however far are sent.
    """
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return min(_FAR, float(header))
    try:
        moment = parsedate_to_datetime(header)
        return min(_FAR, max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()))
    except (OverflowError, TypeError, ValueError):
        return 0.0


def attempts(patience: float, note: Callable[[int, TransientError, float], None]) -> AsyncRetrying:
    """Attempts at one request, for at most `patience` seconds; the last failure is raised.

    `note` is told of each that failed and is to be followed by another: its number, its error, the seconds to wait.
    """

    def wait(state: RetryCallState) -> float:
        return backoff(state.attempt_number, _error(state).after)

    def before_sleep(state: RetryCallState) -> None:
        note(state.attempt_number, _error(state), state.upcoming_sleep)

    return AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        wait=wait,
        stop=stop_before_delay(patience),
        before_sleep=before_sleep,
        reraise=True,
    )


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)  # noqa: S101 — nothing else is tried again
    return error
