"""A connection of the service with no socket under it, where a test decides which bytes come together, and when."""

import asyncio
import http.client
import io
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from service.app import Application
from service.connection import Connection

_HIGH = 65536  # bytes that are not sent yet, from which on a transport has its protocol wait


class Answer(NamedTuple):
    """An answer as it was written; of its headers every one, by its name in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The one header of that name."""
        (value,) = (value for key, value in self.headers if key == name)
        return value


class Unsent(asyncio.Transport):
    """A transport that keeps what is written.

    Attributes:
        written: all of it.
        reading: whether the protocol wants more.
        reads: whether the other side reads what is written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol
        self.written = b""
        self.reading = True
        self.reads = True
        self._closing = False
        self._unread = 0
        self._paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        """Nothing is known."""
        return default

    def is_closing(self) -> bool:
        """Whether it has ended, or will."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """How much is not read yet."""
        return self._unread

    def pause_reading(self) -> None:
        """No more is to come."""
        self.reading = False

    def resume_reading(self) -> None:
        """More may come."""
        self.reading = not self._closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keeps data; as with a real one, also behind `close` as long as something is to be sent."""
        self.written += data
        self._unread += 0 if self.reads else len(data)
        if self._unread > _HIGH and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def read_all(self) -> None:
        """Has the other side read."""
        self.reads, self._unread = True, 0
        if self._paused:
            self._paused = False
            self.protocol.resume_writing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol has what comes from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def write_eof(self) -> None:
        """No more is sent; the other side, which sees it, closes."""
        self.close()

    def close(self) -> None:
        """Ends the connection behind what was written."""
        if not self._closing:
            self.lose(None)

    def lose(self, error: Exception | None) -> None:
        """The connection has ended, by an error of the network or in order."""
        self._closing, self.reading = True, False
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)


class Connected:
    """A connection that stands."""

    def __init__(self, app: Application, keep_alive: int = 5) -> None:
        self.state = ServerState()
        config = uvicorn.Config(
            app, ws="none", interface="asgi3", log_config=None, access_log=False, timeout_keep_alive=keep_alive
        )
        self.protocol = Connection(app.express, config=config, server_state=self.state, app_state={})
        self.transport = Unsent()
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    def feed(self, *packets: bytes) -> None:
        """Has bytes come, each packet by itself, unless the connection has ended."""
        for packet in packets:
            if not self.transport.is_closing():
                self.protocol.data_received(packet)

    def answers(self) -> list[Answer]:
        """Those that were written whole."""
        stream = _Stream(self.transport.written)
        found: list[Answer] = []
        while stream.tell() < len(self.transport.written):
            response = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
            try:
                response.begin()
                body = response.read()
            except (http.client.HTTPException, ValueError):
                break
            headers = [(name.lower(), value) for name, value in response.getheaders()]
            found.append(Answer(response.status, headers, body))
        return found

    async def answered(self, number: int) -> list[Answer]:
        """The answers, once there are so many, or the connection has ended."""
        answers = self.answers()
        while len(answers) < number and not self.transport.is_closing():
            written = len(self.transport.written)
            await asyncio.sleep(0.001)
            if len(self.transport.written) > written:
                answers = self.answers()
        return self.answers()


class _Stream(io.BytesIO):
    def makefile(self, _mode: str) -> "_Stream":
        """As `http.client` asks for it."""
        return self

    def close(self) -> None:
        """Stays open: `http.client` closes it after each answer."""
