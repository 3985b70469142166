"""A client that takes what it can get: many connections, each of which asks again as soon as it is answered."""

import asyncio
import threading
from collections import Counter
from types import TracebackType

_TIME = 60  # seconds for an answer


class Greedy:
    """Asks so from its beginning to its end; on each connection for as many answers together as `pipelined` says.

    Attributes:
        statuses: how many answers there were of each.
    """

    def __init__(
        self, port: int, request: bytes, *, connections: int, host: str = "127.0.0.1", pipelined: int = 1
    ) -> None:
        """`host` is the address that it asks from."""
        self.statuses: Counter[int] = Counter()
        self._port = port
        self._host = host
        self._request = request * pipelined
        self._pipelined = pipelined
        self._connections = connections
        self._begun = threading.Event()
        self._answered = threading.Semaphore(0)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event

    def __enter__(self) -> "Greedy":
        """Begins."""
        self._thread.start()
        assert self._begun.wait(_TIME)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Ends, in the midst of what is under way."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def wait(self, status: int, count: int) -> None:
        """Waits until there were so many more answers of a status."""
        aim = self.statuses[status] + count
        while self.statuses[status] < aim:
            assert self._answered.acquire(timeout=_TIME), f"no answers any more: {self.statuses}"

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        asking = [asyncio.ensure_future(self._ask()) for _ in range(self._connections)]
        self._begun.set()
        await self._over.wait()
        for connection in asking:
            connection.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._host, 0))
        try:
            while True:
                writer.write(self._request)
                for _ in range(self._pipelined):
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                    self.statuses[int(head[9:12])] += 1
                    self._answered.release()
        finally:
            writer.transport.abort()
