"""What calls take of a worker: how many are under way, and the bytes of their messages; each address has a share."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import OverloadedError
from service.shares import Shares
from service.state import State

_SMALL_MESSAGE = 65536  # bytes; each call may hold as many, whatever else is held


class Room:
    """The room that there is."""

    def __init__(self, state: State) -> None:
        self._bodies = state.bodies  # of requests over HTTP, too
        self._most_bytes = state.settings.max_held
        self._calls = Shares()
        self._most_calls = state.settings.max_connections

    @contextmanager
    def call(self, address: str | None) -> Iterator[None]:
        """A call from an address is under way meanwhile, whether anything of it has come or not.

        Raises:
            OverloadedError: too many are.
        """
        if not self._calls.fits(address, 1, self._most_calls):
            raise OverloadedError(f"{self._calls.total:.0f} calls are under way already, of {self._most_calls} at most")
        self._calls.take(address, 1)
        try:
            yield
        finally:
            self._calls.give(address, 1)

    @contextmanager
    def message(self, address: str | None, length: int) -> Iterator[None]:
        """So many bytes of a message are held meanwhile.

        Raises:
            OverloadedError: there is no room for them.
        """
        if length <= _SMALL_MESSAGE:
            yield
            return
        if not self._bodies.fits(address, length, self._most_bytes):
            held = self._bodies.total
            raise OverloadedError(f"bodies of {held:,.0f} bytes are held already, of {self._most_bytes:,} at most")
        self._bodies.take(address, length)
        try:
            yield
        finally:
            self._bodies.give(address, length)
