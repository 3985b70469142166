"""Requests that wait together run together: a queue whose batch is whatever has come in when its turn is due.

Nothing polls and nothing sleeps. The first request to wait schedules a turn of the event loop; whoever else has come by
then shares the batch. A request alone is answered at once, and under load batches grow by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from service.errors import OverloadedError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Runs a function on the items of all requests that wait, in batches of at most `max_batch` items.

    A request's items stay together, so a request larger than `max_batch` is a batch by itself. The function runs on the
    event loop: it is to take milliseconds, and then handing it to a thread would cost more than it frees.
    """

    def __init__(self, run: Callable[[list[Item]], Sequence[Answer]], *, max_batch: int, max_waiting: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._queue: deque[tuple[Sequence[Item], asyncio.Future[list[Answer]]]] = deque()
        self._waiting = 0  # items in the queue

    async def submit(self, items: Sequence[Item]) -> list[Answer]:
        """The answers to the items, in their order.

        Raises:
            OverloadedError: with these, more than `max_waiting` items would wait.
            Exception: what the function raised on the batch; each request of the batch gets it.
        """
        if self._waiting + len(items) > self._max_waiting:
            raise OverloadedError(f"{self._waiting} images wait already, and at most {self._max_waiting} may")
        loop = asyncio.get_running_loop()
        if not self._queue:
            loop.call_soon(self._turn)
        future: asyncio.Future[list[Answer]] = loop.create_future()
        self._queue.append((items, future))
        self._waiting += len(items)
        return await future

    def _take(self) -> list[tuple[Sequence[Item], "asyncio.Future[list[Answer]]"]]:
        """The next requests that fit into one batch; those that nobody waits for any more are dropped."""
        batch: list[tuple[Sequence[Item], asyncio.Future[list[Answer]]]] = []
        size = 0
        while self._queue:
            items, future = self._queue[0]
            if batch and size + len(items) > self._max_batch:
                break
            self._queue.popleft()
            self._waiting -= len(items)
            if not future.cancelled():
                batch.append((items, future))
                size += len(items)
        return batch

    def _turn(self) -> None:
        batch = self._take()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._turn)
        if not batch:
            return
        together = [item for items, _ in batch for item in items]
        try:
            answers = list(self._run(together))
            if len(answers) != len(together):
                raise RuntimeError(f"{len(together)} items got {len(answers)} answers")
        except Exception as error:  # whatever it is, somebody waits for it
            for _, future in batch:
                future.set_exception(error)
            return
        start = 0
        for items, future in batch:
            future.set_result(answers[start : start + len(items)])
            start += len(items)
