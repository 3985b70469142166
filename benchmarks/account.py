"""Clients that keep account: of each request that they send, whether it was answered, and if not, what became of it."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

_PATIENCE = 60.0  # seconds for one answer; whoever waits for longer counts it as lost


@dataclass
class Account:
    """What became of the requests of one run.

    Attributes:
        answered: whole answers, by status.
        last: how many of them said that they were the last of their connection.
        lost: what became of each request that had no whole answer, in words.
        refused: connections that were refused, so that nothing was sent on them.
    """

    answered: dict[int, int] = field(default_factory=dict)
    last: int = 0
    lost: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def sent(self) -> int:
        """All requests that a connection was there for."""
        return sum(self.answered.values()) + len(self.lost)


class Clients:
    """A closed loop of clients on one port: each asks again as soon as it is answered, on the same connection.

    Where a connection ends, or is said to end, it opens another one, until it is refused.

    Attributes:
        account: what has become of their requests.
    """

    def __init__(self, host: str, port: int, requests: Sequence[bytes], connections: int) -> None:
        """Each client goes round the requests, and begins at another one."""
        self.account = Account()
        self._target = (host, port)
        self._requests = requests
        self._connections = connections
        self._over = False

    async def run(self) -> None:
        """Asks until connections are refused, or until they are told to stop."""
        await asyncio.gather(*(self._go_on(number) for number in range(self._connections)))

    def stop(self) -> None:
        """Has each client end behind its next answer."""
        self._over = True

    async def _go_on(self, number: int) -> None:
        while not self._over:
            try:
                async with asyncio.timeout(_PATIENCE):
                    reader, writer = await asyncio.open_connection(*self._target)
            except (OSError, TimeoutError):
                self.account.refused += 1
                return
            try:
                number = await self._use(reader, writer, number)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> int:
        while not self._over:
            number += 1
            writer.write(self._requests[number % len(self._requests)])
            try:
                async with asyncio.timeout(_PATIENCE):
                    status, last = await _answer(reader)
            except (OSError, EOFError, TimeoutError) as error:
                self.account.lost.append(repr(error))
                break
            self.account.answered[status] = self.account.answered.get(status, 0) + 1
            self.account.last += last
            if last:
                break
        return number


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status of an answer that is read whole, and whether it said that it is the last."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, length = head.partition(b"\r\ncontent-length:")
    await reader.readexactly(int(length.partition(b"\r\n")[0]))
    return int(head[9:12]), b"\r\nconnection: close\r\n" in head
