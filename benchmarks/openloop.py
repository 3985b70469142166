"""Open-loop load: requests are due at a fixed rate whatever the server does, and their clocks start when they are due.

A generator that waits for an answer before it asks again falls silent exactly while the server is slow, and so leaves
the worst times out (Gil Tene's coordinated omission). Here a request goes out by a free connection; where none is free
another is opened, up to a limit, and beyond that it waits here with its clock running. How long requests waited here
before they were sent is told too: where that is more than moments, the load is less than it was to be, since the
generator has no CPU left, or no connections.
"""

import asyncio
import contextlib
import time
from array import array
from collections.abc import Sequence

_TICK = 0.001  # seconds, the finest that the event loop's timers know; answers that come in meanwhile look as well


class OpenLoad:
    """A run of `total` requests at a fixed rate, and what became of each.

    Attributes:
        latencies: seconds from when a request was due to its answer, by status.
        times: the same from when it was sent.
        late: seconds from when each request was due to when it was sent.
        sent: how many were.
        lost: requests whose connection ended before their answer.
        connections: the most that were open.
        ended: when the last answer came, in seconds after the first request was due.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Sequence[bytes],
        *,
        rate: float,
        total: int,
        limit: int,
        standing: int = 1,
        cut: bool = False,
    ) -> None:
        """`limit` connections are opened at most, and `standing` of them before the first request is due.

        Where it is `cut`, nothing is sent any more once the last request was due, however many are late.
        """
        self.latencies: dict[int, array[float]] = {}
        self.times: dict[int, array[float]] = {}
        self.late = array("d")
        self.lost = 0
        self.connections = 0
        self.ended = 0.0
        self._target = (host, port)
        self._requests = requests
        self._interval = 1 / rate
        self._total = total
        self._limit = limit
        self._standing = min(standing, limit)
        self._cut = cut
        self._issued = 0
        self._finished = 0
        self._open = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._free: list[_Connection] = []  # the last one in is the first out, so that few are kept busy
        self._all: set[_Connection] = set()
        self._start = 0.0
        self._over = False

    async def run(self, drain: float) -> None:
        """Runs to the last answer, or until `drain` seconds after the last request was due."""
        await asyncio.gather(*(self._connect() for _ in range(self._standing)))
        self._start = time.perf_counter()
        last = self._start + self._total * self._interval
        while self._finished < self._total and (now := time.perf_counter()) < last + drain:
            if self._cut and now >= last:
                self._total = self._issued  # what could not be sent in time is no part of the load
            self.issue()
            await asyncio.sleep(_TICK)
        self._over = True
        for connection in list(self._all):
            connection.close()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    @property
    def sent(self) -> int:
        """Requests that were sent."""
        return self._issued

    @property
    def unanswered(self) -> int:
        """Requests that had neither an answer nor a lost connection when the run was over."""
        return self._total - self._finished

    def issue(self) -> None:
        """Sends what is due, as far as there are free connections, and opens more where there are not."""
        now = time.perf_counter()
        due = min(self._total, int((now - self._start) / self._interval) + 1)
        while self._issued < due and self._free:
            request = self._requests[self._issued % len(self._requests)]
            begun = self._start + self._issued * self._interval
            self.late.append(now - begun)
            self._free.pop().send(request, begun, now)
            self._issued += 1
        for _ in range(min(due - self._issued, self._limit - self._open) - len(self._opening)):
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        # A connection that is not accepted is tried again, with the clock of the request that wants it running.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().create_connection(lambda: _Connection(self), *self._target)

    def opened(self, connection: "_Connection") -> None:
        """A connection stands."""
        self._open += 1
        self.connections = max(self.connections, self._open)
        self._all.add(connection)
        self._free.append(connection)

    def answered(self, connection: "_Connection", status: int, due: float, sent: float) -> None:
        """A request has its answer, and its connection is free again."""
        now = time.perf_counter()
        self.latencies.setdefault(status, array("d")).append(now - due)
        self.times.setdefault(status, array("d")).append(now - sent)
        self._finished += 1
        self.ended = now - self._start
        self._free.append(connection)
        self.issue()

    def closed(self, connection: "_Connection", *, busy: bool) -> None:
        """A connection ended, perhaps with a request under way."""
        if self._over:
            return
        self._open -= 1
        self._all.discard(connection)
        if busy:
            self.lost += 1
            self._finished += 1
        elif connection in self._free:
            self._free.remove(connection)


class _Connection(asyncio.Protocol):
    """A kept connection with at most one request under way; it reads no more of an answer than it needs."""

    __slots__ = ("_buffer", "_due", "_load", "_sent", "_transport")

    def __init__(self, load: OpenLoad) -> None:
        self._load = load
        self._buffer = b""
        self._due: float | None = None
        self._sent = 0.0

    # uvloop's transport is one by what it does and not by its class.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._load.opened(self)

    def send(self, request: bytes, due: float, now: float) -> None:
        """Sends a request that was due at that time."""
        self._due, self._sent = due, now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _body_length(data[:end]):
            self._buffer = data
            return
        self._buffer = b""
        if self._due is None:  # an answer that nobody asked for
            self._transport.abort()
            return
        due, self._due = self._due, None
        self._load.answered(self, int(data[9:12]), due, self._sent)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 — asyncio calls it so
        self._load.closed(self, busy=self._due is not None)

    def close(self) -> None:
        """Ends it, when the run is over."""
        self._transport.abort()


def _body_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError("an answer without Content-Length cannot be told from a broken one")
    return int(rest.partition(b"\r\n")[0])
