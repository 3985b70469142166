"""What is kept of every request: its id, its count, its time; where they are asked for a log line and a trail."""

import itertools
import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar

import structlog

from service.answer import Header
from service.keys import Key
from service.state import State
from service.trail import Trail, Trails

_ALLOWED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger("digitscope.access")


class Journal:
    """The tickets of requests, and the counts of those that have ended.

    Attributes:
        trails: what follows requests, while that is switched on.
    """

    def __init__(self, shared: State) -> None:
        self.trails: Trails | None = None
        self._shared = shared
        # Random once and counted from there: drawing each id anew costs ten times as much, and nothing needs it.
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count()

    def ticket(
        self,
        fields: Mapping[bytes, bytes],
        method: str,
        path: str,
        started: float,
        caller: str | None,
        rpc: str | None = None,
    ) -> "Ticket":
        """The ticket of a request with these header fields, which began at `started` as `time.perf_counter` has it.

        `rpc` is the full name of the method that it calls, over gRPC.
        """
        given = fields.get(b"x-request-id")
        if given is None or _ALLOWED_ID.fullmatch(given) is None:
            given = b"%b-%x" % (self._prefix, next(self._numbers))
        trail = None if self.trails is None else self.trails.begin(fields, method, path, started, caller, rpc)
        return Ticket(self._shared, given, method, path, started, trail)

    def failed(self, error: Exception) -> None:
        """Logs an exception that nobody had foreseen."""
        _log.error("request failed", exc_info=error)


class Ticket:
    """What a request has from its beginning to its end.

    Attributes:
        id: the one that its caller gave it, or a new one.
        trail: what is told of it to those who follow it, if anybody does.
    """

    __slots__ = ("_method", "_path", "_shared", "_started", "id", "trail")

    def __init__(
        self, shared: State, request_id: bytes, method: str, path: str, started: float, trail: Trail | None
    ) -> None:
        self._shared = shared
        self._method = method
        self._path = path
        self._started = started
        self.id = request_id
        self.trail = trail

    @property
    def headers(self) -> list[Header]:
        """What its answer has besides its own."""
        own = [(b"x-request-id", self.id)]
        return own if self.trail is None else [*own, self.trail.header]

    @property
    def written(self) -> bytes:
        """The same as it goes over the wire."""
        own = b"x-request-id: %b\r\n" % self.id
        return own if self.trail is None else own + b"%b: %b\r\n" % self.trail.header

    def end(self, route: str, status: int, key: Key | None = None, code: str | None = None) -> None:
        """Keeps the request, which was answered: the template of its route, its status, and the key that it had.

        `code` is the name of the status that gRPC has for it.
        """
        seconds = time.perf_counter() - self._started
        self._shared.metrics.answered(route, self._method, status, seconds)
        if self._shared.settings.access_log:
            _log.info(
                "request",
                method=self._method,
                path=self._path,
                status=status,
                seconds=seconds,
                **self.ids(),
                **({} if key is None else {"key": key.name}),
            )
        if self.trail is not None:
            self.trail.end(route, status, code)

    def ids(self) -> dict[str, str]:
        """What a line of the log is found by."""
        ids = {"request_id": self.id.decode()}
        return ids if self.trail is None else ids | {"trace_id": self.trail.trace_id, "span_id": self.trail.span_id}


TICKET: ContextVar[Ticket] = ContextVar("ticket")
"""The ticket of the request that is being answered, for what is logged meanwhile."""
