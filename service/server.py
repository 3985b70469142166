"""uvicorn as this service runs it."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.memory import return_freed

_GRACE = 8  # seconds for requests under way when the service is to end; Docker waits for 10
_LONGEST_HEAD = 65536  # bytes
_HEAD_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\ncontent-length: 62\r\n"
    b'connection: close\r\n\r\n{"error":"the head of the request has more than 65,536 bytes"}'
)
_YOUNG = 20_000  # objects that may be made before those not needed any more are looked for


def serve(app: ASGIApp, sockets: list[socket.socket], ready: Callable[[], None]) -> bool:
    """Serves in this process until it is told to end; returns whether it could start.

    `ready` is called once it answers on the sockets.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config, ready)

    # For signals before uvicorn takes them: it ends then as soon as it has started. And when it is done it raises the
    # one that ended it once more, for which there is nothing left to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run(sockets)
    return server.started


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer."""
        await super().startup(sockets)
        # What is here by now stays. Going through it for garbage again and again took a thirtieth of the time.
        gc.collect()
        gc.freeze()
        return_freed()
        gc.set_threshold(_YOUNG)
        if self.started:
            self._ready()


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, whose answers leave in one piece, and whose requests have heads of a bounded length."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection stands."""
        self._whole = _Whole(transport)
        self._in_head, self._ended = True, False  # whether a request has come to its end in the data at hand
        self._head = 0  # bytes of the head that is being read, as far as it has not come to its end
        super().connection_made(cast("asyncio.Transport", self._whole))

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self._ended = False
        super().data_received(data)
        if self._in_head and not self._ended:
            self._head += len(data)
            if self._head > _LONGEST_HEAD:
                self._whole.write(_HEAD_TOO_LONG)
                self._whole.close()

    def on_headers_complete(self) -> None:
        """A head has come to its end."""
        self._in_head = False
        super().on_headers_complete()
        self.headers = []  # for trailers, which are no part of the request's head

    def on_message_complete(self) -> None:
        """A request has come to its end."""
        self._in_head, self._ended, self._head = True, True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has ended."""
        self._whole.flush()
        super().on_response_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # The parser stops at the head of a request that wants another protocol, and takes its body for that protocol;
        # so what follows must not be taken for a request.
        self.cycle.keep_alive = False


class _Whole:
    """A transport that holds the head of an answer until its body comes, and sends both together.

    uvicorn writes them one by one, which makes two system calls, two segments and two wake-ups of the client.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Sends data, with the head that waited for it; a head waits."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):  # an interim answer has no body
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Sends a head that no body came for."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Ends the connection, once everything is sent."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
