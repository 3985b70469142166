"""How many requests are under way at once: more while the service keeps up, fewer when it does not.

The rule is that of TCP Vegas (L. Brakmo, S. O'Malley, L. Peterson, "TCP Vegas: New Techniques for Congestion Detection
and Avoidance", 1994): of the requests under way, the share by which an answer takes longer than the fastest one is
waiting somewhere. Few that wait keep the service busy; more only wait longer.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from client.errors import TransientError

_FEW, _MANY = 3.0, 6.0  # requests that wait
_SPAN = 256  # answers of which the fastest is remembered; it is forgotten after twice as many


class Window:
    """The requests that may be under way at once.

    Attributes:
        size: how many, at least 1; a part of a request is growth to come.
        under_way: how many there are.
    """

    def __init__(self, most: int = 64, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = 2.0
        self.under_way = 0
        self._most = most
        self._clock = clock
        self._rising = True  # until first something waits, it doubles with each round
        self._closed_until = 0.0
        self._shrunk = -math.inf
        self._fastest = [math.inf, math.inf]  # of this span of answers, and of the one before
        self._answers = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Waits until a request may be sent, and learns from how it went, which an exception tells."""
        await self._wait()
        self.under_way += 1
        beside, began = self.under_way, self._clock()
        try:
            yield
        except TransientError as error:
            self._shrink(began, error.after)
            raise
        else:
            self._learn(beside, self._clock() - began)
        finally:
            self.under_way -= 1
            self._wake()

    async def _wait(self) -> None:
        while True:
            pause = self._closed_until - self._clock()
            if pause > 0:
                await asyncio.sleep(pause)
            elif self.under_way >= int(self.size):
                await self._changed.wait()
            else:
                return

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _shrink(self, began: float, after: float) -> None:
        now = self._clock()
        self._closed_until = max(self._closed_until, now + after)
        self._rising = False
        if began >= self._shrunk:  # the others of the same round were sent before it could be known
            self.size = max(1.0, self.size / 2)
            self._shrunk = now

    def _learn(self, beside: int, seconds: float) -> None:
        self._answers += 1
        if self._answers % _SPAN == 0:  # what was fast once, on a way that is no more, is not for ever
            self._fastest = [math.inf, self._fastest[0]]
        self._fastest[0] = min(self._fastest[0], seconds)
        waiting = beside * (1 - min(self._fastest) / seconds) if seconds > 0 else 0.0
        if waiting > _MANY:
            self._rising = False
            self.size = max(1.0, self.size - 1 / self.size)
        elif waiting < _FEW and beside >= int(self.size):  # one that is not full tells nothing of a larger one
            self.size = min(float(self._most), self.size + (1 if self._rising else 1 / self.size))
