"""Groups → rows, many groups at once, in the order of the inputs and in memory that does not grow with their number."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from client.errors import RunError
from client.group import Group
from client.prediction import Row
from client.remote import Answerer

_AHEAD = 8  # groups that are read or wait to be written, beside those that are under way
_HELD = 64 * 2**20  # bytes of all of them, or one group

Write = Callable[[list[Row]], Awaitable[None]]


async def run(groups: Iterator[Group], answerer: Answerer, write: Write, most: int = 16) -> None:
    """Has all groups answered, and writes the rows of each when those of all before it are written.

    At `most` so many are under way at once, and a few more wait for their turn or for those before them.

    Raises:
        RunError: no more can be answered; what had been answered before the first that was not is written.
    """
    flow = _Flow(groups, answerer, most + _AHEAD)
    reading = asyncio.create_task(flow.read())
    try:
        while (answering := await flow.waiting.get()) is not None:
            rows, size = await answering
            await write(rows)
            flow.let_go(size)
        await reading
    finally:
        for task in (reading, *flow.under_way):
            task.cancel()
        await asyncio.gather(reading, *flow.under_way, return_exceptions=True)


class _Flow:
    """The groups that are read and not yet written."""

    def __init__(self, groups: Iterator[Group], answerer: Answerer, ahead: int) -> None:
        self.waiting: asyncio.Queue[asyncio.Task[tuple[list[Row], int]] | None] = asyncio.Queue(ahead)
        self.under_way: set[asyncio.Task[tuple[list[Row], int]]] = set()
        self._groups = groups
        self._answerer = answerer
        self._held = 0
        self._room = asyncio.Event()

    async def read(self) -> None:
        """Reads groups in a thread, as there is room, and has them answered."""
        try:
            while (group := await asyncio.to_thread(next, self._groups, None)) is not None:
                self._held += group.size
                task = asyncio.create_task(self._answer(group))
                self.under_way.add(task)
                task.add_done_callback(self._settle)
                await self.waiting.put(task)
                while self._held > _HELD:
                    self._room.clear()
                    await self._room.wait()
        except Exception:
            await self.waiting.put(None)  # what was read is still to be written
            raise
        await self.waiting.put(None)

    def let_go(self, size: int) -> None:
        """Notes that so many bytes are needed no longer."""
        self._held -= size
        self._room.set()

    def _settle(self, task: "asyncio.Task[tuple[list[Row], int]]") -> None:
        self.under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, since of several only the first is raised

    async def _answer(self, group: Group) -> tuple[list[Row], int]:
        answers = iter(await self._answerer.answer(group.kind, group.data) if group.kind else ())
        rows = []
        for place, name in enumerate(group.names):
            answer = group.errors.get(place) or next(answers, None)
            if answer is None:
                raise RunError("there are fewer answers than inputs")
            rows.append(Row(name, None, answer) if isinstance(answer, str) else Row(name, answer))
        return rows, group.size
