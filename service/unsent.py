"""Answers that wait to be read, which take memory as long as they do."""

from typing import Protocol

from service.errors import OverloadedError


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
