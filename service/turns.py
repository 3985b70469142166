"""So many at once, and of those who wait one of each caller in turn.

A semaphore serves who came first. There a hundred requests of one caller would keep everybody else waiting for all of
them; here each other caller waits for one. But where ever new callers come, whose turn would always be next, who has
waited for long goes before them; unless what he waits for is his own work, that takes longer than anybody knew.
"""

import asyncio
import math
from collections import deque


class Turns:
    """The places, and who waits for one."""

    def __init__(self, places: int, patience: float = math.inf) -> None:
        """Who has waited for more than `patience` seconds is served before all who came later."""
        self._free = places
        self._patience = patience
        # By caller, whose turn is next first: since when each waits, on the loop's clock, and what it waits for.
        self._waiting: dict[str | None, deque[tuple[float, asyncio.Future[None]]]] = {}

    async def take(self, caller: str | None) -> None:
        """Waits for a place, which is to be given back."""
        if self._free:  # and so nobody waits
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.setdefault(caller, deque()).append((loop.time(), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place came at the same moment
                self.give()
            raise

    def renew(self, caller: str | None) -> None:
        """What a caller waits for is taken to have come just now: he goes before nobody for having waited till now."""
        if (own := self._waiting.get(caller)) is not None:
            now = asyncio.get_running_loop().time()
            self._waiting[caller] = deque((now, turn) for _, turn in own)

    def give(self) -> None:
        """Gives a place back: to whose turn it is."""
        while self._waiting:
            caller = self._next()
            own = self._waiting.pop(caller)
            _, turn = own.popleft()
            if own:
                self._waiting[caller] = own  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> str | None:
        oldest = min(self._waiting, key=lambda caller: self._waiting[caller][0][0])
        waited = asyncio.get_running_loop().time() - self._waiting[oldest][0][0]
        return oldest if waited > self._patience else next(iter(self._waiting))
