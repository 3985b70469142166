"""Requests that wait together run together: a queue whose batch is whatever waits when the engine is free.

Nothing polls and nothing sleeps. The first request to wait schedules a turn of the event loop; whoever else has come by
then shares the batch. A request alone is answered at once, and under load batches grow by themselves.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from service.errors import DeadlineError, GoneError, OverloadedError
from service.shares import Shares

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Answer_contra = TypeVar("Answer_contra", contravariant=True)

_SHORT = 2  # batches: a queue that is never refused
_SLOWDOWN = 128  # times its own time that an item in pieces may wait
_STRETCH = 0.005  # seconds of batches one after the other before what has come meanwhile is looked at
_MEMORY = 16  # runs that the pace is taken from
# Seconds that a turn waits for the event loop, which comes to it when it has read all that came. With a fifth of that
# refusals came too late at one and a half times the peak, and connections piled up behind them.
_OVERDUE = 0.05
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
    caller: str | None = None


@dataclass(slots=True)
class _Large(Generic[Item, Answer]):
    """What runs in pieces, and receives their answers one after the other."""

    waiting: _Waiting[Item, Answer]
    again: "Callable[[_Large[Item, Answer]], None]"  # to be called when it has had a turn
    start: int = 0  # of the next piece
    answers: list[Answer] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def rest(self) -> int:
        return self.waiting.size - self.start

    def done(self) -> bool:
        return False  # it is asked when its next turn comes

    def set_result(self, answer: Answer, /) -> None:
        self.answers.append(answer)
        self.again(self)

    def set_exception(self, error: Exception, /) -> None:
        self.failure = error
        self.again(self)


@dataclass(frozen=True, slots=True)
class Pieces(Generic[Item, Answer]):
    """How items beyond a batch are cut.

    Attributes:
        cut: the part of an item from a start to a stop.
        join: the answer to an item, of it and of those to its pieces.
    """

    cut: Callable[[Item, int, int], Item]
    join: Callable[[Item, list[Answer]], Answer]


class Batcher(Generic[Item, Answer]):
    """Runs a function on what waits, in batches of items that have at most `max_batch` in size together.

    Larger items run in pieces, which share their batches half and half with whatever else waits, and take turns among
    each other; without `pieces` each is a batch by itself.

    Items may have a caller. Of what may wait each caller has a share, as `service.shares` divides it; items of nobody
    in particular may take all of it.

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
        pieces: Pieces[Item, Answer] | None = None,
        waited: Callable[[Sequence[float]], None] = lambda _: None,
        executor: Executor | None = None,
    ) -> None:
        """`run` gives one answer an item, in order.

        `max_waiting` bounds the sizes of all that wait, and `max_wait` the seconds that running them will take, by how
        long the last ones took; a few batches may wait in any case, and an item that runs in pieces waits for as long
        as many of its own size take. `max_delay`, in seconds, is how long a batch that is not full waits for more.
        `waited` is told of each batch how long each item waited that it begins, in seconds.
        """
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._max_delay = max_delay
        self._pieces = pieces
        self._waited = waited
        self._executor = executor
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._queued = Shares()  # sizes of all in the queue
        self._large: deque[_Large[Item, Answer]] = deque()
        self._rest = Shares()  # what is left of all large items, in the queue or not
        self._ample = min(_SHORT * max_batch, max_waiting)
        # Whom with how much was refused, and why, since something was last taken: as no less waits, it is so still.
        self._refused: dict[tuple[int, str | None], OverloadedError] = {}
        self._passed_over = False  # whether large items wait that had no part in the last batch
        self._turn: asyncio.Handle | None = None  # while one is scheduled
        self._due = 0.0  # when it is, on the monotonic clock
        self._in_turn = False
        self._delayed = False  # whether it is to wait for a full batch; uvloop's timers are no asyncio.TimerHandle
        self._running = False  # in the executor
        self._pace = 0.0  # seconds that a size of 1 takes in a batch that is half full or more, of late
        self._has_filled = False  # whether there was any such batch
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(
        self,
        item: Item,
        size: int = 1,
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
        caller: str | None = None,
    ) -> "asyncio.Future[Answer]":
        """The answer to an item, to be awaited; it raises what a receiver is given by `put`.

        Raises:
            OverloadedError: too much waits already.
        """
        future: asyncio.Future[Answer] = self._running_loop().create_future()
        self.put(item, size, future, deadline=deadline, gone=gone, caller=caller)
        return future

    def put(
        self,
        item: Item,
        size: int,
        receiver: Receiver[Answer],
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
        caller: str | None = None,
    ) -> None:
        """Has the answer to an item given to a receiver.

        Or what the function raised on the item; DeadlineError when the monotonic clock passed `deadline` before its
        turn; GoneError when `gone` said then that nobody waits for it.

        Raises:
            OverloadedError: too much waits already.
        """
        if (refusal := self.refusal(size, caller)) is not None:
            raise OverloadedError(*refusal.args)  # its own: what is raised keeps where it was, and that is told to many
        waiting: _Waiting[Item, Answer] = _Waiting(item, size, time.monotonic(), deadline, gone, receiver, caller)
        if self._is_large(size):
            self._large.append(_Large(waiting, self._again))
            self._rest.take(caller, size)
        else:
            self._queue.append(waiting)
            self._queued.take(caller, size)
        if not self._running:
            self._schedule(self._running_loop())

    def refusal(self, size: int = 1, caller: str | None = None) -> OverloadedError | None:
        """Why an item of a caller would be refused now; None if it would not.

        Before anything is refused a turn is taken that is overdue: with thousands of connections the event loop would
        be busy with refusing for a second, and run one batch in it.
        """
        refusal = self._refused.get((size, caller)) or self._refusal(size, caller)
        if refusal is None or self._turn is None or self._in_turn or time.monotonic() - self._due < _OVERDUE:
            return refusal
        self._turn.cancel()
        self._take_turn(self._running_loop())
        return self._refusal(size, caller)

    def _refusal(self, size: int, caller: str | None) -> OverloadedError | None:
        sentence = self._objection(size, caller)
        if sentence is None:
            return None
        refusal = self._refused[size, caller] = OverloadedError(sentence)
        return refusal

    def _objection(self, size: int, caller: str | None) -> str | None:
        small, rest = self._queued.total, self._rest.total
        everything = small + rest
        if not everything or 2 * everything + size <= self._ample:  # whoever it is from
            return None
        if everything + size > self._max_waiting:
            return f"{everything:,.0f} images wait already, and at most {self._max_waiting:,} may"
        own_small, own_rest = self._queued.held(caller), self._rest.held(caller)
        own = own_small + own_rest
        if own + everything + size > self._max_waiting:
            return f"{own:,.0f} images of the same caller wait already, and others are to find room"
        if self._is_large(size):
            before, max_wait = everything + own, max(self._max_wait, _SLOWDOWN * size * self._pace)
        else:  # what is in pieces has half of each batch
            before, max_wait = (small + own_small) * (2 if rest else 1), self._max_wait
        if before > _SHORT * self._max_batch and before * self._pace > max_wait:
            return f"what waits already takes more than {max_wait * 1000:.3g} ms"
        return None

    def _is_large(self, size: int) -> bool:
        return self._pieces is not None and size > self._max_batch

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = self._loop or asyncio.get_running_loop()  # which asks the system in older Pythons
        return self._loop

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sees to it that a turn comes: at once, or when a batch that is not full has waited for more."""
        full = self._queued.total >= self._max_batch or bool(self._large)
        if self._turn is None:
            delay = 0.0
            if self._max_delay and not full:  # less what the oldest has waited already, while another batch ran
                delay = self._queue[0].arrived + self._max_delay - time.monotonic()
            self._delayed = delay > 0
            self._due = time.monotonic() + max(0.0, delay)
            self._turn = (
                loop.call_later(delay, self._take_turn, loop) if delay > 0 else loop.call_soon(self._take_turn, loop)
            )
        elif full and self._delayed:
            self._delayed = False
            self._due = time.monotonic()
            self._turn.cancel()
            self._turn = loop.call_soon(self._take_turn, loop)

    def _take(self, now: float) -> list[_Waiting[Item, Answer]]:
        """What fits into one batch of what waits, without what it is too late for."""
        batch: list[_Waiting[Item, Answer]] = []
        waited: list[float] = []  # by what begins
        half = max(1, self._max_batch // 2)
        room = self._max_batch
        piece_first = bool(self._large) and (self._passed_over or not self._queue)
        if piece_first:
            room -= self._take_piece(batch, waited, now, half if self._queue else None)
        kept = half if self._large and not piece_first else 0  # for a piece behind the others
        while self._queue:
            waiting = self._queue[0]
            if batch and waiting.size > room - kept:
                break
            self._queue.popleft()
            self._queued.give(waiting.caller, waiting.size)
            if _is_due(waiting, now):
                batch.append(waiting)
                room -= waiting.size
                waited.append(now - waiting.arrived)
        self._passed_over = False
        if kept and not (room > 0 and self._take_piece(batch, waited, now, room if batch else None)):
            self._passed_over = True
        self._refused.clear()  # at the end, as whoever was too late may have asked meanwhile
        if waited:
            self._waited(waited)
        return batch

    def _take_piece(
        self, batch: list[_Waiting[Item, Answer]], waited: list[float], now: float, most: int | None
    ) -> int:
        """Adds a piece of the next large item to a batch; returns its size, or 0 if there is none."""
        assert self._pieces is not None  # noqa: S101 — there are large items
        while self._large:
            large = self._large.popleft()
            waiting, start = large.waiting, large.start
            if not _is_due(waiting, now):
                self._rest.give(waiting.caller, large.rest)
                continue
            if not start:
                waited.append(now - waiting.arrived)
            size = min(most or self._max_batch, large.rest)
            large.start += size
            self._rest.give(waiting.caller, size)
            piece = self._pieces.cut(waiting.item, start, large.start)
            batch.append(_Waiting(piece, size, waiting.arrived, None, None, large))
            return size
        return 0

    def _again(self, large: _Large[Item, Answer]) -> None:
        """Goes on with a large item after its turn."""
        self._refused.clear()
        receiver = large.waiting.receiver
        if large.failure is None and large.rest and not receiver.done():
            self._large.append(large)
            if not self._running:
                self._schedule(self._running_loop())
            return
        if large.rest:
            self._rest.give(large.waiting.caller, large.rest)
        if receiver.done():
            return
        if large.failure is not None:
            receiver.set_exception(large.failure)
        elif self._pieces is not None:
            try:
                answer = self._pieces.join(large.waiting.item, large.answers)
            except Exception as error:  # whatever it is, it is to take no others along
                receiver.set_exception(error)
            else:
                receiver.set_result(answer)

    def _take_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turn = None
        self._in_turn = True
        try:
            self._run_batches(loop)
        finally:
            self._in_turn = False

    def _run_batches(self, loop: asyncio.AbstractEventLoop) -> None:
        began = now = time.monotonic()
        while batch := self._take(now):
            if self._executor is not None:
                self._running = True
                running = loop.run_in_executor(self._executor, self._timed_answers_to, batch)
                running.add_done_callback(partial(self._finished, batch, loop))
                return
            started = time.monotonic()
            self._finish(batch, self._answers([waiting.item for waiting in batch]), loop)
            now = time.monotonic()
            self._learn_pace(batch, now - started)  # with what it took to give the answers
            # Between batches the event loop reads what has come. Where that is more than batches can keep up with, most
            # of its time would go into refusing; so a long queue is worked off first, if that is soon done.
            if self._queued.total <= _SHORT * self._max_batch or now - began > _STRETCH:
                return

    def _timed_answers_to(self, batch: list[_Waiting[Item, Answer]]) -> list[Answer | Exception]:
        started = time.monotonic()
        answers = self._answers([waiting.item for waiting in batch])
        self._learn_pace(batch, time.monotonic() - started)
        return answers

    def _learn_pace(self, batch: list[_Waiting[Item, Answer]], seconds: float) -> None:
        size = sum([waiting.size for waiting in batch])
        # A run during which the machine did something else is not believed to have taken more than twice as long.
        pace = min(seconds / size, 2 * self._pace) if self._pace else seconds / size
        if 2 * size >= self._max_batch:
            self._pace += (pace - self._pace) / (_MEMORY if self._has_filled else 1)
            self._has_filled = True
        elif not self._pace or pace < self._pace:  # what waits for long runs in full batches, which cost less a size
            self._pace += (pace - self._pace) / (_MEMORY if self._pace else 1)

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
        if self._queue or self._large:
            self._schedule(loop)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.receiver.done():  # cancelled while the batch ran
                continue
            if isinstance(answer, Exception):
                waiting.receiver.set_exception(answer)
            else:
                waiting.receiver.set_result(answer)


def _is_due(waiting: _Waiting[Item, Answer], now: float) -> bool:
    """Whether somebody still waits for an item; if it is too late for it, its receiver is told."""
    if waiting.receiver.done():
        return False
    if waiting.deadline is not None and now >= waiting.deadline:
        waiting.receiver.set_exception(DeadlineError("the time given for the request passed before its turn came"))
        return False
    if now - waiting.arrived > _PATIENCE and _is_gone(waiting):
        waiting.receiver.set_exception(GoneError("the caller has gone"))
        return False
    return True


def _is_gone(waiting: _Waiting[Item, Answer]) -> bool:
    try:
        return waiting.gone is not None and waiting.gone()
    except Exception:  # of the caller's own code, which is to cost the others of its batch nothing
        return False
