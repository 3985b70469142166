"""The trail of a request, for those who leave a mark on it; what becomes of it is `service.telemetry`'s affair."""

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from functools import wraps
from types import MappingProxyType
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

from service.answer import Header

Facts = Mapping[str, str | int]
NONE: Facts = MappingProxyType({})
_CONTEXT = (b"traceparent", b"tracestate")
_LONGEST_STATE = 4096  # bytes; W3C asks for 512 at least, and some versions of OpenTelemetry read it by its square
_P = ParamSpec("_P")
_R = TypeVar("_R")
_Work: TypeAlias = Callable[_P, Coroutine[Any, Any, _R]]


class Trail(Protocol):
    """What is told of one request; times are on the clock of `time.perf_counter`.

    Attributes:
        header: what tells the caller of it.
        trace_id, span_id: by which others find it, in hexadecimal.
        answering: when the answer began to be made; None before that.
    """

    header: Header
    trace_id: str
    span_id: str
    answering: float | None

    def stage(self, name: str, began: float, ended: float, facts: Facts = NONE) -> None:
        """Has spent time on something."""

    def end(self, route: str, status: int, code: str | None = None) -> None:
        """Was answered: the template of its route, its status, and over gRPC the name of the one that it has there."""


class Trails(Protocol):
    """What follows requests."""

    def begin(
        self, fields: Mapping[bytes, bytes], method: str, path: str, started: float, caller: str | None, rpc: str | None
    ) -> Trail:
        """The trail of a request from a caller, with its header fields; `rpc` is the method that is called by gRPC."""


TRAIL: ContextVar[Trail | None] = ContextVar("trail", default=None)
"""The trail of the request that is being answered; None where requests are not followed."""


def staged(name: str, *, last: bool = False) -> Callable[[_Work[_P, _R]], _Work[_P, _R]]:
    """Has each call of a coroutine function be a stage of the request that it is for; behind the last it is answered.

    Where requests are not followed a call is what it was, but for one more look.
    """

    def decorate(work: _Work[_P, _R]) -> _Work[_P, _R]:
        @wraps(work)
        def follow(*args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _R]:
            trail = TRAIL.get()
            made = work(*args, **kwargs)
            return made if trail is None else _timed(trail, name, made, last=last)

        return follow

    return decorate


async def _timed(trail: Trail, name: str, work: Coroutine[Any, Any, _R], *, last: bool) -> _R:
    began = time.perf_counter()
    try:
        return await work
    finally:
        ended = time.perf_counter()
        trail.stage(name, began, ended)
        if last:
            trail.answering = ended


def join(by_name: dict[bytes, bytes], fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Has all that was sent of a trace's context, of which `by_name` knows the last (RFC 9110, section 5.3)."""
    if _CONTEXT[0] in by_name:
        for name in _CONTEXT:
            if values := [value for key, value in fields if key == name]:
                by_name[name] = b",".join(values)
        if len(by_name.get(_CONTEXT[1], b"")) > _LONGEST_STATE:
            del by_name[_CONTEXT[1]]
