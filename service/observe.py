"""What every request passes: its id, its time, its count, and what becomes of a failure; and the limit of its body."""

import itertools
import re
import secrets
import time
from contextvars import ContextVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.answer import Header
from service.call import Call, limited
from service.errors import DigitscopeError
from service.metrics import UNKNOWN
from service.refusal import refusal
from service.state import State
from service.thin import Shortcut

REQUEST_ID: ContextVar[bytes] = ContextVar("request_id")
"""The id of the request that is being answered, for what is logged meanwhile."""

_ALLOWED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_GONE = 499  # as nginx notes a client that has gone before its answer
_log = structlog.get_logger("digitscope.access")


class Observe:
    """Gives each request an id, counts it and its time, and logs it where that is asked for.

    Requests for a thin route are answered by it, all others by an application. What neither has caught is logged beside
    the request's id and answered by `failure`.
    """

    def __init__(self, app: ASGIApp, shortcut: Shortcut, shared: State, failure: ASGIApp) -> None:
        self._app = app
        self._shortcut = shortcut
        self._shared = shared
        self._failure = failure
        # Random once and counted from there: drawing each id anew costs ten times as much, and nothing needs it.
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        fields = dict(scope["headers"])
        request_id = fields.get(b"x-request-id", b"")
        if not _ALLOWED_ID.fullmatch(request_id):
            request_id = b"%b-%x" % (self._prefix, next(self._numbers))
        REQUEST_ID.set(request_id)
        sending = _Sending(send, (b"x-request-id", request_id))
        try:
            endpoint = self._shortcut.endpoint(scope)
            if endpoint is None:
                await self._app(scope, receive, sending)
                return
            try:
                answer = await endpoint(Call(scope, receive, self._shared, fields))
            except DigitscopeError as error:
                answer = refusal(error, self._shared.metrics)
            sending.status = answer.status_code
            answer.raw_headers.append(sending.header)
            await answer(scope, receive, send)
        except ClientDisconnect:
            sending.status = _GONE
        except Exception:  # whatever it is
            _log.exception("request failed")
            if sending.status:  # half an answer cannot be taken back, so the connection is to end
                raise
            await self._failure(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - started
            status = sending.status or 500
            route = getattr(scope.get("route"), "path", UNKNOWN)
            self._shared.metrics.answered(route, scope["method"], status, seconds)
            if self._shared.settings.access_log:
                _log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)


class _Sending:
    """Sends with one more header, and remembers the status."""

    __slots__ = ("_send", "header", "status")

    def __init__(self, send: Send, header: Header) -> None:
        self._send = send
        self.header = header
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], self.header]
        await self._send(message)


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
