"""So many at once, and of those who wait one of each caller in turn.

A semaphore serves who came first. There a hundred requests of one caller would keep everybody else waiting for all of
them; here each other caller waits for one.
"""

import asyncio
from collections import deque


class Turns:
    """The places, and who waits for one."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str | None, deque[asyncio.Future[None]]] = {}  # by caller, whose turn is next first

    async def take(self, caller: str | None) -> None:
        """Waits for a place, which is to be given back."""
        if self._free:  # and so nobody waits
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place came at the same moment
                self.give()
            raise

    def give(self) -> None:
        """Gives a place back: to whose turn it is."""
        while self._waiting:
            caller = next(iter(self._waiting))
            own = self._waiting.pop(caller)
            turn = own.popleft()
            if own:
                self._waiting[caller] = own  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
