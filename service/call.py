"""A request as the thin routes read it: its head in one pass, its body with no detour, its caller there or gone."""

import asyncio
import re
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple, Self

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from service.errors import MalformedError, TooLargeError
from service.state import State

STARTED = "digitscope.started"
"""In a scope, when the head of the request was here, on the clock of `time.perf_counter`."""
FULL = "digitscope.full"
"""In a scope, once there is no room for its body, the OverloadedError that says so."""
LIMIT = "digitscope.limit"
"""In a scope, the `asyncio.Timeout` that ends the work on the request."""

_SECONDS = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")


def time_allowed(fields: Mapping[bytes, bytes], most: float) -> float:
    """The seconds that a request may take as a whole, by its field X-Request-Timeout, and `most` in any case.

    Raises:
        MalformedError: the field is no number of seconds.
    """
    given = fields.get(b"x-request-timeout")
    if given is None:
        return most
    seconds = float(given) if _SECONDS.fullmatch(given) else 0.0
    if not seconds:
        raise MalformedError("X-Request-Timeout is to be a number of seconds above 0, such as 0.5")
    return min(seconds, most)


def _too_large(max_body: int) -> TooLargeError:
    return TooLargeError(f"the body has more than the {max_body:,} bytes that are read")


def declared_length(value: bytes) -> int:
    """A Content-Length; more digits than any body has bytes are more than any limit."""
    if not value.isdigit():
        return 0
    digits = value.lstrip(b"0")
    return int(digits or b"0") if len(digits) < 16 else sys.maxsize


def limited(scope: Scope, receive: Receive, max_body: int) -> Receive:
    """Receives a body, and refuses it before it is read or as soon as it grows beyond a limit.

    What is to be received raises TooLargeError then, and OverloadedError where there is no room for it.
    """
    declared = declared_length(dict(scope["headers"]).get(b"content-length", b""))
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        if FULL in scope:
            raise scope[FULL]
        if declared <= max_body:
            message = await receive()
            received += len(message.get("body", b""))
            if received <= max_body:
                return message
        raise _too_large(max_body)

    return receive_limited


def media_type(fields: Mapping[bytes, bytes]) -> bytes:
    """The Content-Type in lower case, without its parameters, of header fields by name in lower case."""
    return fields.get(b"content-type", b"").partition(b";")[0].strip().lower()


class Head(NamedTuple):
    """The head of a request for a thin route.

    Attributes:
        query: what follows the ? in its target.
        parameters: what the route's template finds in its path.
        fields, shared: as a `Call` has them.
    """

    query: bytes
    parameters: dict[str, str]
    fields: dict[bytes, bytes]
    shared: State


class Call(Request):
    """Starlette's request, read faster.

    Attributes:
        shared: what the routes of the application share.
        fields: the header fields by name in lower case; of one that comes several times, the last.
    """

    def __init__(self, scope: Scope, receive: Receive, shared: State, fields: dict[bytes, bytes]) -> None:
        # Not Starlette's own, which prepares for much that a thin route never asks.
        self.scope = scope
        self.shared = shared
        self.fields = fields
        self._receive = receive

    @classmethod
    def of(cls, request: Request, shared: State) -> Self:
        """The same request, of a route that is FastAPI's own."""
        return cls(request.scope, request.receive, shared, dict(request.scope["headers"]))

    def whole(self) -> Request:
        """The same as Starlette has it, its body not read yet, and within the limit."""
        return Request(self.scope, limited(self.scope, self._receive, self.shared.settings.max_body))

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            TooLargeError: it is beyond the limit.
            OverloadedError: there is no room for it.
            ClientDisconnect: the caller has gone before it was here.
        """
        limit = self.shared.settings.max_body
        if declared_length(self.fields.get(b"content-length", b"")) > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        received = 0
        while True:
            if FULL in self.scope:
                raise self.scope[FULL]
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body: bytes = message["body"]
            received += len(body)
            if received > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join((*chunks, body)) if chunks else body  # most come whole, and are taken as they are
            chunks.append(body)

    def hurry(self, seconds: float | None) -> None:
        """Has the request end as too late when so many seconds have passed since its head was here."""
        limit: asyncio.Timeout | None = self.scope.get(LIMIT)
        if seconds is None or limit is None:
            return
        when = asyncio.get_running_loop().time() + seconds - (time.perf_counter() - self.scope[STARTED])
        if (before := limit.when()) is None or when < before:
            limit.reschedule(when)

    def gone(self) -> bool:
        """Whether the caller has gone, told without waiting; to be asked when the body has been read."""
        # What receive() does next is wait for the end of the connection. One step shows whether that has come; a task
        # that waits for it would cost every request as much as its answer does.
        receiving = self._receive()
        try:
            receiving.send(None)  # type: ignore[attr-defined]  # it is a coroutine
        except StopIteration as returned:
            return bool(returned.value["type"] == "http.disconnect")
        receiving.close()  # type: ignore[attr-defined]
        return False
