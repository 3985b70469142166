"""Requests that wait together run together: a queue whose batch is whatever waits when the engine is free.

Nothing polls and nothing sleeps. The first request to wait schedules a turn of the event loop; whoever else has come by
then shares the batch. A request alone is answered at once, and under load batches grow by themselves.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from service.errors import DeadlineError, GoneError, OverloadedError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Answer_contra = TypeVar("Answer_contra", contravariant=True)

_SHORT = 4  # batches: a queue that is never refused
_MEMORY = 16  # runs that the pace is taken from
_PATIENCE = 0.01  # seconds in the queue after which it is worth asking whether the caller is still there


class Receiver(Protocol[Answer_contra]):
    """Takes an answer, or what went wrong, and raises nothing itself: a future, or what costs less."""

    def done(self) -> bool:
        """Whether nothing is waited for any more."""

    def set_result(self, result: Answer_contra, /) -> None:
        """Takes the answer."""

    def set_exception(self, exception: Exception, /) -> None:
        """Takes what went wrong."""


@dataclass(slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    size: int
    arrived: float  # on the monotonic clock, as is the deadline
    deadline: float | None
    gone: Callable[[], bool] | None
    receiver: "Receiver[Answer]"


class Batcher(Generic[Item, Answer]):
    """Runs a function on what waits, in batches of items that have at most `max_batch` in size together.

    Without an executor the function runs on the event loop: it is to take milliseconds, and then handing it to a thread
    costs more than it frees. With one, the next batch gathers while the function runs.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Answer]],
        *,
        max_batch: int,
        max_waiting: int,
        max_wait: float,
        max_delay: float = 0.0,
        waited: Callable[[int, float], None] = lambda *_: None,
        executor: Executor | None = None,
    ) -> None:
        """`run` gives one answer an item, in order.

        `max_waiting` bounds the sizes of all that wait, and `max_wait` the seconds that running them will take, by how
        long the last ones took; a few batches may wait in any case. `max_delay`, in seconds, is how long a batch that
        is not full waits for more. `waited` is told of each batch how many requests it has and how long they waited
        together.
        """
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._max_delay = max_delay
        self._waited = waited
        self._executor = executor
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._size = 0  # of all in the queue
        self._promised = 0  # of all that is to follow what was admitted
        self._turn: asyncio.Handle | None = None  # while one is scheduled
        self._delayed = False  # whether it is to wait for a full batch; uvloop's timers are no asyncio.TimerHandle
        self._running = False  # in the executor
        self._pace = 0.0  # seconds that a size of 1 takes, of late
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._queue and not self._running

    def submit(
        self,
        item: Item,
        size: int = 1,
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
        more: int = 0,
        admitted: bool = False,
    ) -> "asyncio.Future[Answer]":
        """The answer to an item, to be awaited; it raises what a receiver is given by `put`.

        Raises:
            OverloadedError: too much waits already.
        """
        future: asyncio.Future[Answer] = self._running_loop().create_future()
        self.put(item, size, future, deadline=deadline, gone=gone, more=more, admitted=admitted)
        return future

    def put(
        self,
        item: Item,
        size: int,
        receiver: Receiver[Answer],
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
        more: int = 0,
        admitted: bool = False,
    ) -> None:
        """Has the answer to an item given to a receiver.

        Or what the function raised on the item; DeadlineError when the monotonic clock passed `deadline` before its
        turn; GoneError when `gone` said then that nobody waits for it. `more` is the size of what is to follow it as
        `admitted`, which is not refused any more; `release` takes back what does not follow.

        Raises:
            OverloadedError: too much waits already.
        """
        if admitted:
            self._promised -= size
        elif self._size:
            if (all_waiting := self._size + self._promised) + size + more > self._max_waiting:
                raise OverloadedError(f"{all_waiting:,} images wait already, and at most {self._max_waiting:,} may")
            if self._size > _SHORT * self._max_batch and self._size * self._pace > self._max_wait:
                raise OverloadedError(f"what waits already takes more than {self._max_wait * 1000:g} ms")
        self._promised += more
        now = time.monotonic()
        self._queue.append(_Waiting(item, size, now, deadline, gone, receiver))
        self._size += size
        if not self._running:
            self._schedule(self._running_loop())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = self._loop or asyncio.get_running_loop()  # which asks the system in older Pythons
        return self._loop

    def release(self, size: int) -> None:
        """Takes back what was to follow an item as admitted."""
        self._promised -= size

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sees to it that a turn comes: at once, or when a batch that is not full has waited for more."""
        full = self._size >= self._max_batch
        if self._turn is None:
            delay = 0.0
            if self._max_delay and not full:  # less what the oldest has waited already, while another batch ran
                delay = self._queue[0].arrived + self._max_delay - time.monotonic()
            self._delayed = delay > 0
            self._turn = (
                loop.call_later(delay, self._take_turn, loop) if delay > 0 else loop.call_soon(self._take_turn, loop)
            )
        elif full and self._delayed:
            self._delayed = False
            self._turn.cancel()
            self._turn = loop.call_soon(self._take_turn, loop)

    def _take(self, now: float) -> list[_Waiting[Item, Answer]]:
        """The next items that fit into one batch, without those that it is too late for."""
        batch: list[_Waiting[Item, Answer]] = []
        size = 0
        waited = 0.0
        while self._queue:
            waiting = self._queue[0]
            if batch and size + waiting.size > self._max_batch:
                break
            self._queue.popleft()
            self._size -= waiting.size
            if waiting.receiver.done():
                continue
            time_in_queue = now - waiting.arrived
            if waiting.deadline is not None and now >= waiting.deadline:
                waiting.receiver.set_exception(
                    DeadlineError("the time given for the request passed before its turn came")
                )
            elif time_in_queue > _PATIENCE and _is_gone(waiting):
                waiting.receiver.set_exception(GoneError("the caller has gone"))
            else:
                batch.append(waiting)
                size += waiting.size
                waited += time_in_queue
        if batch:
            self._waited(len(batch), waited)
        return batch

    def _take_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turn = None
        while batch := self._take(time.monotonic()):
            if self._executor is not None:
                self._running = True
                running = loop.run_in_executor(self._executor, self._answers_to, batch)
                running.add_done_callback(partial(self._finished, batch, loop))
                return
            self._finish(batch, self._answers_to(batch), loop)
            # Between batches the event loop reads what has come. Where that is more than batches can keep up with, most
            # of its time would go into refusing; so a long queue is worked off first.
            if self._size <= _SHORT * self._max_batch:
                return

    def _answers_to(self, batch: list[_Waiting[Item, Answer]]) -> list[Answer | Exception]:
        started = time.monotonic()
        answers = self._answers([waiting.item for waiting in batch])
        pace = (time.monotonic() - started) / sum(waiting.size for waiting in batch)
        # A run during which the machine did something else is not believed to have taken more than twice as long.
        self._pace += (min(pace, 2 * self._pace) - self._pace) / _MEMORY if self._pace else pace
        return answers

    def _answers(self, items: list[Item]) -> list[Answer | Exception]:
        """One answer an item, or what went wrong with it: an item that fails takes none of its neighbours with it."""
        try:
            answers = list(self._run(items))
            if len(answers) != len(items):
                raise RuntimeError(f"{len(items)} items got {len(answers)} answers")
        except Exception as error:  # whatever it is, somebody waits for it
            if len(items) == 1:
                return [error]
            return [self._answers([item])[0] for item in items]
        return list(answers)

    def _finished(
        self,
        batch: list[_Waiting[Item, Answer]],
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[list[Answer | Exception]]",
    ) -> None:
        self._running = False
        try:
            answers = done.result()
        except (Exception, asyncio.CancelledError) as error:  # the executor was shut down
            failure = RuntimeError("the batch was not run")
            failure.__cause__ = error
            answers = [failure] * len(batch)
        self._finish(batch, answers, loop)

    def _finish(
        self, batch: list[_Waiting[Item, Answer]], answers: list[Answer | Exception], loop: asyncio.AbstractEventLoop
    ) -> None:
        if self._queue:
            self._schedule(loop)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.receiver.done():  # cancelled while the batch ran
                continue
            if isinstance(answer, Exception):
                waiting.receiver.set_exception(answer)
            else:
                waiting.receiver.set_result(answer)


def _is_gone(waiting: _Waiting[Item, Answer]) -> bool:
    try:
        return waiting.gone is not None and waiting.gone()
    except Exception:  # of the caller's own code, which is to cost the others of its batch nothing
        return False
