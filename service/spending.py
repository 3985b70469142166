"""What is read of requests on the event loop itself, and how long that takes.

Everything that has come is read before anything of it is run. A picture takes a sixth of a millisecond to be read, so
of a thousand that come together the last would be answered after a sixth of a second, and so would everybody else.
Beyond a limit of time in one turn of the event loop what is left is refused unread, at a small part of the cost. The
many pictures of one request, which has been let in already, are read over several turns instead.
"""

import asyncio

from service.errors import OverloadedError
from service.shares import Shares

_FEW = 128  # requests that are read in one turn however long they take
_QUICK = 2e-5  # seconds; less is not worth being noted


class Spending:
    """The time spent on reading in the present turn of the event loop, and by whose requests.

    Attributes:
        refusal: what is said to those that are refused.
    """

    def __init__(self, most: float) -> None:
        """`most` is in seconds."""
        self.refusal = OverloadedError(f"what came together takes more than {most * 1000:.3g} ms to be read")
        self._most = most
        self._seconds = Shares()
        self._requests = Shares()

    def refuses(self, caller: str | None) -> bool:
        """Whether what this caller sends is to be refused rather than read."""
        return not (self._requests.fits(caller, 1, _FEW) or self._seconds.fits(caller, 0, self._most))

    def is_enough(self, caller: str | None) -> bool:
        """Whether what this caller has sent already waits for the next turn; well before what is new is refused."""
        return not self._seconds.fits(caller, 0, self._most / 2)

    def spent(self, caller: str | None, seconds: float) -> None:
        """Notes what reading a request of a caller took."""
        if seconds < _QUICK:
            return
        if not self._requests.total:
            asyncio.get_running_loop().call_soon(self._turn_over)
        self._requests.take(caller, 1)
        self._seconds.take(caller, seconds)

    def _turn_over(self) -> None:
        self._requests.clear()
        self._seconds.clear()
