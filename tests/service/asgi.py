"""Requests to an application as plain ASGI messages, where a test decides what arrives when, with no socket between."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.types import Message, Scope

Result = TypeVar("Result")
DISCONNECT: Message = {"type": "http.disconnect"}


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine, which is not waited for without end."""
    return asyncio.run(asyncio.wait_for(work, 30))


def chunks(*bodies: bytes) -> list[Message]:
    """A body in parts."""
    last = len(bodies) - 1
    return [{"type": "http.request", "body": body, "more_body": number < last} for number, body in enumerate(bodies)]


class Caller:
    """What a server hands on of its connection: messages in turn, and after the last one a wait without end.

    Attributes:
        taken: how many messages were received.
        disconnected: whether the end of the connection was among them.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages = list(messages)
        self.taken = 0
        self.disconnected = False
        self._gone = asyncio.Event()

    def hang_up(self) -> None:
        """Ends the connection."""
        self._gone.set()

    async def __call__(self) -> Message:
        """ASGI's `receive`."""
        if self.taken < len(self._messages):
            self.taken += 1
            message = self._messages[self.taken - 1]
            self.disconnected = message is DISCONNECT
            return message
        await self._gone.wait()
        self.disconnected = True
        return DISCONNECT


@dataclass
class Answered:
    """What an application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def scope(method: str, path: str, headers: Mapping[str, str] | None = None) -> Scope:
    """The head of a request as a server hands it on."""
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def ask(
    app: FastAPI,
    method: str,
    path: str,
    body: bytes | Caller = b"",
    headers: Mapping[str, str] | None = None,
) -> Answered:
    """The answer to one request; its body in one piece, or received as a test wants it."""
    answered = Answered()
    receive = Caller(chunks(body)) if isinstance(body, bytes) else body

    async def send(message: Message) -> None:
        if receive.disconnected:
            return  # as a server has it
        if message["type"] == "http.response.start":
            assert not answered.status, "an answer was begun twice"
            answered.status = message["status"]
            answered.headers = {name.decode().title(): value.decode() for name, value in message["headers"]}
        else:
            answered.body += message.get("body", b"")

    await app(scope(method, path, headers), receive, send)
    return answered


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[FastAPI]:
    """The application with its model open."""
    async with app.router.lifespan_context(app):
        yield app
