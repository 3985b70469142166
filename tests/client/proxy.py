"""A proxy between client and service that does to requests what a test wants: refuses, delays, resets, cuts off."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal["pass", "busy", "late", "hang", "reset", "cut"]
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 17\r\n\r\n" + b'{"error": "full"}'
LATE = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Proxy:
    """A proxy to a port of this machine.

    Attributes:
        target: that port; a test may change it.
        fault: what is to become of the next request, by its number from 0 on.
        delay: seconds that each request takes longer.
        asked: the bodies of all requests to `/v1/predict`, in the order that they came.
        port: where it listens.
        serving: what is under way; asyncio itself would let go of a task that nobody else holds.
    """

    target: int
    fault: Callable[[int], Fault] = lambda _: "pass"
    delay: float = 0
    asked: list[bytes] = field(default_factory=list)
    port: int = 0
    serving: set[asyncio.Task[None] | None] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        self.serving.add(asyncio.current_task())
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                fault: Fault = "pass"
                if head.startswith(b"POST /v1/predict"):
                    self.asked.append(body)
                    fault = self.fault(len(self.asked) - 1)
                    await asyncio.sleep(self.delay)
                if fault == "hang":
                    await reader.read()  # until the client has had enough
                if fault == "reset":
                    linger = struct.pack("ii", 1, 0)  # closing sends RST
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if fault in {"hang", "reset"}:
                    break
                answer = {"busy": BUSY, "late": LATE}.get(fault) or await self._forward(head, body)
                writer.write(answer[: len(answer) // 2] if fault == "cut" else answer)
                await writer.drain()
                if fault == "cut" or not answer:
                    break

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        """The service's whole answer; nothing if there is no service."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return b""
        with contextlib.closing(writer):
            try:
                writer.write(head + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                return answer + await reader.readexactly(int(length))
            except (OSError, asyncio.IncompleteReadError):
                return b""


@contextmanager
def proxying(proxy: Proxy) -> Iterator[Proxy]:
    """Runs it in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> asyncio.Server:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        return server

    async def end() -> None:
        server.close()
        await asyncio.sleep(0.05)  # in which what was accepted last begins
        while serving := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await asyncio.sleep(0.05)  # in which what was closed is let go of

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
