"""Bytes that are held for others, of which only so many may be held at once, whoever they are."""

from typing import Protocol

from service.errors import OverloadedError


class Budget:
    """So many bytes, taken by those who come first.

    Attributes:
        left: those that nobody has.
    """

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, size: int) -> bool:
        """Takes bytes; False, and none are taken, where there are not so many left."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give(self, size: int) -> None:
        """Gives back what was taken."""
        self.left += size


class Outlet(Protocol):
    """Where answers are written to, and wait to be read."""

    def get_write_buffer_size(self) -> int:
        """How many bytes wait."""


class Unsent:
    """The answers that wait for callers who read them slowly.

    Attributes:
        outlets: where more waits than the system takes at once.
    """

    def __init__(self, most: int) -> None:
        """`most` bytes may wait before no more large answers are made."""
        self._most = most
        self.outlets: set[Outlet] = set()

    def check(self) -> None:
        """Sees that another large answer may be made.

        Raises:
            OverloadedError: too much waits already.
        """
        size = sum(outlet.get_write_buffer_size() for outlet in self.outlets)
        if size > self._most:
            raise OverloadedError(f"answers of {size:,} bytes wait to be read already, and at most {self._most:,} may")
