"""What every request passes: its id, its count, its time and the limit of that, its body's limit, and what failed."""

import asyncio
import time
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.answer import Header
from service.call import LIMIT, STARTED, Call, limited, time_allowed
from service.caller import CALLER, caller_of
from service.errors import DeadlineError, DigitscopeError, GoneError
from service.guard import KEY
from service.journal import TICKET, Journal
from service.metrics import UNKNOWN
from service.refusal import STATUSES, TOO_LATE, failure, refusal
from service.shield import HEADERS, shielded
from service.state import State
from service.thin import Shortcut
from service.trail import TRAIL, join

_PRIVATE: Header = (b"cache-control", b"private")  # an answer to a key is for no cache that others share


class Observe:
    """Lets each request in or refuses it, gives it an id, counts it and its time, and logs it where that is asked for.

    Requests for a thin route are answered by it, all others by an application. What neither has caught is logged beside
    the request's id and answered by 500. Neither has longer for an answer than its caller gives it; when the service's
    own time has passed, which is seldom, is for the server to see: a timer for each request would cost 15 µs.
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
        started = scope.setdefault(STARTED, time.perf_counter())
        fields = dict(scope["headers"])
        client = scope.get("client")
        caller = caller_of(client[0]) if client else None
        CALLER.set(caller)
        if self._journal.trails is not None:
            join(fields, scope["headers"])
        ticket = self._journal.ticket(fields, scope["method"], scope["path"], started, caller)
        TICKET.set(ticket)
        TRAIL.set(ticket.trail)
        sending = _Sending(send, ticket.headers, scope)
        guard, key = self._shared.guard, None
        refused_at = UNKNOWN
        try:
            try:
                key = guard.admit(scope["path"], scope["method"], fields)
                if key is not None:
                    KEY.set(key)
                    CALLER.set(key.name)
                    sending.headers.append(_PRIVATE)
            except DigitscopeError as error:
                refused_at = guard.route(scope["path"]) or UNKNOWN
                await refusal(error, self._shared.metrics)(scope, receive, sending)
                return
            answer = await self._answer(scope, receive, sending, fields)
            if answer is not None:
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
            ticket.end(route, sending.status or 500, key)

    async def _answer(
        self, scope: Scope, receive: Receive, sending: "_Sending", fields: dict[bytes, bytes]
    ) -> Response | None:
        """What is to be answered within the time for it; None where the application has sent its own answer."""
        endpoint = self._shortcut.endpoint(scope)
        try:
            async with asyncio.timeout(self._time_left(fields, scope[STARTED])) as limit:
                scope[LIMIT] = limit
                if endpoint is None:
                    await self._app(scope, receive, sending)
                    return None
                return await endpoint(Call(scope, receive, self._shared, fields))
        except DigitscopeError as error:
            return refusal(error, self._shared.metrics)
        except TimeoutError:
            if not limit.expired():
                raise
            return refusal(DeadlineError(TOO_LATE), self._shared.metrics)
        finally:
            scope.pop(LIMIT, None)

    def _time_left(self, fields: Mapping[bytes, bytes], started: float) -> float | None:
        if b"x-request-timeout" not in fields:
            return None
        return started + time_allowed(fields, self._shared.settings.timeout) - time.perf_counter()


class _Sending:
    """Sends with a few more headers, and remembers the status. An answer that has begun is not too late any more."""

    __slots__ = ("_scope", "_send", "headers", "status")

    def __init__(self, send: Send, headers: list[Header], scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self.headers = headers
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            limit = self._scope.pop(LIMIT, None)
            if limit is not None:
                limit.reschedule(None)
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
