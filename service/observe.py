"""What every request passes: its id, its time, its count, and what becomes of a failure; and the limit of its body."""

import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.answer import Header
from service.call import Call, limited
from service.errors import DigitscopeError, GoneError
from service.guard import KEY
from service.journal import REQUEST_ID, Journal
from service.metrics import UNKNOWN
from service.refusal import STATUSES, failure, refusal
from service.shield import HEADERS, shielded
from service.state import State
from service.thin import Shortcut

_PRIVATE: Header = (b"cache-control", b"private")  # an answer to a key is for no cache that others share


class Observe:
    """Lets each request in or refuses it, gives it an id, counts it and its time, and logs it where that is asked for.

    Requests for a thin route are answered by it, all others by an application. What neither has caught is logged beside
    the request's id and answered by 500.
    """

    def __init__(self, app: ASGIApp, shortcut: Shortcut, shared: State, journal: Journal) -> None:
        self._app = app
        self._shortcut = shortcut
        self._shared = shared
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        fields = dict(scope["headers"])
        request_id = self._journal.identify(fields)
        REQUEST_ID.set(request_id)
        sending = _Sending(send, (b"x-request-id", request_id))
        guard, key = self._shared.guard, None
        refused_at = UNKNOWN
        try:
            try:
                key = guard.admit(scope["path"], scope["method"], fields)
                if key is not None:
                    KEY.set(key)
                    sending.headers.append(_PRIVATE)
            except DigitscopeError as error:
                refused_at = guard.route(scope["path"]) or UNKNOWN
                await refusal(error, self._shared.metrics)(scope, receive, sending)
                return
            endpoint = self._shortcut.endpoint(scope)
            if endpoint is None:
                await self._app(scope, receive, sending)
                return
            try:
                answer = await endpoint(Call(scope, receive, self._shared, fields))
            except DigitscopeError as error:
                answer = refusal(error, self._shared.metrics)
            sending.status = answer.status_code
            answer.raw_headers += (*sending.headers, *HEADERS)
            await answer(scope, receive, send)
        except ClientDisconnect:
            sending.status = STATUSES[GoneError]
        except Exception as error:  # whatever it is
            self._journal.failed(error)
            if sending.status:  # half an answer cannot be taken back, so the connection is to end
                raise
            await failure()(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", refused_at)
            name = None if key is None else key.name
            self._journal.ended(request_id, route, scope["method"], scope["path"], sending.status or 500, started, name)


class _Sending:
    """Sends with a few more headers, and remembers the status."""

    __slots__ = ("_send", "headers", "status")

    def __init__(self, send: Send, header: Header) -> None:
        self._send = send
        self.headers = [header]
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = shielded([*message["headers"], *self.headers])
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
