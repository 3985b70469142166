"""Room where too many connections stand: which of those that only rest is closed for a new one."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol
from weakref import ref

_AGAIN = 0.02  # seconds until all are asked again whether they rest, where none did


class Resting(Protocol):
    """A connection that may rest between two requests."""

    @property
    def rested_since(self) -> float:
        """When it began to, on whatever clock."""

    def is_resting(self) -> bool:
        """Whether it does, as far as is known here."""

    def has_unread(self) -> bool:
        """Whether the system has something of it that has not been read."""

    def cut(self) -> None:
        """Ends it."""


class Crowd:
    """The connections of one worker, where there are as many as there may be.

    All are asked once whether they rest, and those that do are closed one by one as others come. To ask thousands anew
    for each that comes took all of a CPU, and it answered nothing else.
    """

    def __init__(self) -> None:
        self._rested: deque[tuple[ref[Resting], float]] = deque()  # the longest first
        self._full_until = 0.0  # before which none of them is asked again

    def make_room(self, connections: Iterable[Resting], now: float) -> bool:
        """Closes the connection that has rested for longest; returns whether there was one.

        `connections` are looked at only if none is left of those that rested before.
        """
        if self._cut_one():
            return True
        if now < self._full_until:
            return False
        resting = sorted((one for one in connections if one.is_resting()), key=lambda one: one.rested_since)
        self._rested.extend((ref(one), one.rested_since) for one in resting)
        if self._cut_one():
            return True
        self._full_until = now + _AGAIN
        return False

    def _cut_one(self) -> bool:
        while self._rested:
            found, since = self._rested.popleft()
            one = found()
            if one is None or one.rested_since != since or not one.is_resting() or one.has_unread():
                continue  # it has ended, or has had something to do
            one.cut()
            return True
        return False
