"""How many requests are under way at once: more while the service keeps up, fewer when it does not.

The rule is that of TCP Vegas (L. Brakmo, S. O'Malley, L. Peterson, "TCP Vegas: New Techniques for Congestion Detection
and Avoidance", 1994): of the requests under way, the share by which an answer takes longer than the fastest one is
waiting somewhere. Few that wait keep the service busy; more only wait longer. Since requests differ, it is the time an
image that is compared, among requests of a kind.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from client.errors import TransientError

_FEW, _MANY = 3.0, 6.0  # requests that wait
_AGEING = 1.0001  # of the fastest answer, with each: a service may have become slower for good


class Window:
    """The requests that may be under way at once.

    Attributes:
        size: how many, at least 1; a part of a request is growth to come.
        under_way: how many there are.
    """

    def __init__(self, most: int = 64) -> None:
        self.size = 2.0
        self.under_way = 0
        self._most = most
        self._rising = True  # until first something waits, it doubles with each round
        self._closed_until = 0.0
        self._shrunk = -math.inf
        self._fastest: dict[Hashable, float] = {}  # seconds an image, by kind
        self._queue: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def request(self, kind: Hashable = None, images: int = 1) -> AsyncIterator[None]:
        """Waits until a request may be sent, and learns from how it went, which an exception tells."""
        await self._wait()
        self.under_way += 1
        beside, began = self.under_way, time.monotonic()
        try:
            yield
        except TransientError as error:
            self._shrink(began, error.after)
            raise
        else:
            self._learn(beside, kind, (time.monotonic() - began) / images)
        finally:
            self.under_way -= 1
            self._wake()

    async def _wait(self) -> None:
        while True:
            pause = self._closed_until - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            elif self.under_way < int(self.size):
                return
            else:
                turn = asyncio.get_running_loop().create_future()
                self._queue.append(turn)
                try:
                    await turn
                except asyncio.CancelledError:
                    self._wake()  # it may have been this one's turn
                    raise

    def _wake(self) -> None:
        room = int(self.size) - self.under_way
        while self._queue and room > 0:
            turn = self._queue.popleft()
            if not turn.done():  # as one that was cancelled is
                turn.set_result(None)
                room -= 1

    def _shrink(self, began: float, after: float) -> None:
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + after)
        self._rising = False
        if began >= self._shrunk:  # the others of the same round were sent before it could be known
            self.size = max(1.0, self.size / 2)
            self._shrunk = now

    def _learn(self, beside: int, kind: Hashable, seconds: float) -> None:
        fastest = self._fastest[kind] = min(self._fastest.get(kind, math.inf) * _AGEING, seconds)
        waiting = beside * (1 - fastest / seconds) if seconds > 0 else 0.0
        if waiting > _MANY:
            self._rising = False
            self.size = max(1.0, self.size - 1 / self.size)
        elif waiting < _FEW and beside >= int(self.size):  # one that is not full tells nothing of a larger one
            self.size = min(float(self._most), self.size + (1 if self._rising else 1 / self.size))
