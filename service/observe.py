"""ASGI middleware that sees every request: its id, its time, its count, and the limit of its body."""

import itertools
import re
import secrets
import time
from contextvars import ContextVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.call import limited
from service.metrics import UNKNOWN, Metrics

REQUEST_ID: ContextVar[bytes] = ContextVar("request_id")
"""The id of the request that is being answered, for what is logged meanwhile."""

_ALLOWED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_GONE = 499  # as nginx notes a client that has gone before its answer
_log = structlog.get_logger("digitscope.access")


class Observe:
    """Gives each request an id, counts it and its time, and logs it where that is asked for.

    What nothing within has caught is logged beside the request's id and answered by `failure`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, *, access_log: bool, failure: ASGIApp) -> None:
        self._app = app
        self._metrics = metrics
        self._access_log = access_log
        self._failure = failure
        # Random once and counted from there: drawing each id anew costs ten times as much, and nothing needs it.
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = self._id(scope)
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        REQUEST_ID.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _GONE
        except Exception:  # whatever it is
            _log.exception("request failed")
            if status is not None:  # half an answer cannot be taken back, so the connection is to end
                raise
            await self._failure(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", UNKNOWN)
            self._metrics.answered(route, scope["method"], status or 500, seconds)
            if self._access_log:
                _log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)

    def _id(self, scope: Scope) -> bytes:
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _ALLOWED_ID.fullmatch(value):
                return bytes(value)
        return b"%b-%x" % (self._prefix, next(self._numbers))


class BodyLimit:
    """Refuses a body beyond a limit before it is read, or as soon as it grows beyond it."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, its body counted as it is read."""
        if scope["type"] == "http":
            receive = limited(scope, receive, self._max_body)
        await self._app(scope, receive, send)
