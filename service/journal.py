"""What is kept of every request: its id, its count and time, and where that is asked for a line in the log."""

import itertools
import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar

import structlog

from service.state import State

REQUEST_ID: ContextVar[bytes] = ContextVar("request_id")
"""The id of the request that is being answered, for what is logged meanwhile."""

_ALLOWED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger("digitscope.access")


class Journal:
    """The ids of requests, and the counts of those that have ended."""

    def __init__(self, shared: State) -> None:
        self._shared = shared
        # Random once and counted from there: drawing each id anew costs ten times as much, and nothing needs it.
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count()

    def identify(self, fields: Mapping[bytes, bytes]) -> bytes:
        """The id that a request's header fields give it, or a new one."""
        given = fields.get(b"x-request-id")
        if given is not None and _ALLOWED_ID.fullmatch(given):
            return given
        return b"%b-%x" % (self._prefix, next(self._numbers))

    def ended(
        self,
        request_id: bytes,
        route: str,
        method: str,
        path: str,
        status: int,
        started: float,
        key: str | None = None,
    ) -> None:
        """Keeps a request that began at `started` on the clock of `time.perf_counter`.

        `route` is its template, and `key` the name of its API key.
        """
        seconds = time.perf_counter() - started
        self._shared.metrics.answered(route, method, status, seconds)
        if self._shared.settings.access_log:
            _log.info(
                "request",
                method=method,
                path=path,
                status=status,
                seconds=seconds,
                request_id=request_id.decode(),
                **({} if key is None else {"key": key}),
            )

    def failed(self, error: Exception) -> None:
        """Logs an exception that nobody had foreseen."""
        _log.error("request failed", exc_info=error)
