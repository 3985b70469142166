"""A server that answers at once, except for one stall and what else a test wants of it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stalling(asyncio.Protocol):
    """Answers each request of 4 bytes with 200; the one numbered `stall_at` holds the whole server still."""

    stall_at = -1
    stall_s = 0.0
    close_at = -1
    refuse_every = 0
    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers, in two pieces, so that an answer that is not whole is met too."""
        kind = type(self)
        for _ in range(len(data) // 4):
            kind.answered += 1
            if kind.answered == kind.stall_at:
                time.sleep(kind.stall_s)
            if kind.answered == kind.close_at:
                self.transport.close()
                return
            status = 503 if kind.refuse_every and kind.answered % kind.refuse_every == 0 else 200
            self.transport.write(b"HTTP/1.1 %d X\r\nContent-Le" % status)
            self.transport.write(b"ngth: 2\r\n\r\nok")


@contextmanager
def stalling(**settings: float) -> Iterator[int]:
    """Runs such a server in a thread of its own; gives its port."""
    kind = type("Set", (Stalling,), settings)
    started, ports = threading.Event(), list[int]()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await loop.create_server(kind, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    task = loop.create_task(serve())

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.run_until_complete(asyncio.sleep(0.05))  # so that open connections see their end
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
