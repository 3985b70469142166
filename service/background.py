"""Work that is to hold up nobody: in threads of its own, a few things at a time, each caller in turn."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from service.caller import CALLER
from service.errors import DeadlineError, GoneError, OverloadedError
from service.load import Load
from service.shares import Shares
from service.turns import Turns
from service.usual import Usual

Result = TypeVar("Result")

_PATIENCE = 15.0  # seconds: what would not be done by then is refused at once
_FEW = 3  # works for each thread: one caller, who has half of what may wait, sends one while another is done
_TWICE = 2  # times what was expected: whose work takes longer is no more to be relied on
_OVERTAKING = 1.5  # times what waits takes, that some of it may wait, as newcomers are served before it
_PARTS = 1e6  # of a second, which are counted whole, so that nothing is left when all is given back
_LOWEST = 19  # nice(2); the most yielding of all


class Background:
    """The threads, which begin with the first work."""

    def __init__(
        self,
        name: str,
        most_waiting: int,
        patience: float = _PATIENCE,
        *,
        usual: float = 0.0,
        threads: int = 1,
        yields: bool = True,
        permit: Callable[[], None] = lambda: None,
    ) -> None:
        """`name` is what is waited for, as in "wait to be read".

        `most_waiting` may wait at once, and only so much that each is done within `patience` seconds; each caller has a
        share in both. Work of which nothing else is known is taken to need `usual` seconds until some has been done.
        Where it `yields`, it is done when the CPU has nothing else to do. `permit` is called on the event loop before
        work is begun, and may raise what keeps it from being done.
        """
        self._name = name
        self._most_waiting = most_waiting
        self._patience = patience
        self._most_seconds = patience / _OVERTAKING
        self._few_seconds = self._most_seconds / _FEW  # which a work counts for at most
        self._threads = threads
        self._permit = permit
        self._any = Load(None, usual)
        self._usual = Usual()
        self._executor = ThreadPoolExecutor(
            threads, f"worker to {name}", initializer=_yield_to_others if yields else None
        )
        # On the event loop, where a caller can be asked for.
        self._turns = Turns(threads, self._most_seconds * (_OVERTAKING - 1))
        self._unfinished = Shares()
        self._room = Shares()  # what those count for, in parts of a second
        self._seconds = 0  # what they take, in the same

    async def run(
        self,
        work: Callable[[], Result],
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Result:
        """The result of work, done when its turn comes, with a place of its own; else as `turn` has it.

        Raises:
            OverloadedError: too much waits already, by number or by the time that it will take; or `permit` says so.
            DeadlineError: the deadline passed before its turn.
            GoneError: nobody waits for the result; the work was not begun.
            Exception: what the work raises.
        """
        with self.place():
            return await self.turn(work, deadline=deadline, gone=gone)

    def refusal(self, caller: str | None, works: int | Sequence[Load] = 1) -> OverloadedError | None:
        """Why works of a caller would be refused now, so many or these; None if they would not."""
        if not self._room.fits(caller, self._counts_for(works), self._threads * self._most_seconds * _PARTS):
            seconds = self._seconds / _PARTS / self._threads
            return OverloadedError(f"what waits already to {self._name} takes {seconds:.1f} s")
        if not self._unfinished.fits(caller, 0, self._most_waiting):
            return OverloadedError(
                f"{round(self._unfinished.total) - self._threads} requests wait already to {self._name}"
            )
        return None

    def _times(self, works: int | Sequence[Load]) -> list[float]:
        """What each takes, in seconds."""
        return [self._usual.of(load) for load in ([self._any] * works if isinstance(works, int) else works)]

    def _counts_for(self, works: int | Sequence[Load]) -> int:
        """How much of the room works take up that one caller asks for at once, in parts of a second.

        It is what they take, as long as that leaves room for others and lets a few wait. So works that have no room
        anywhere are let in where half is free, and do not keep out whoever comes next: he waits for one of them at
        most, since each caller has his turn.
        """
        seconds = sum(min(seconds, self._few_seconds) for seconds in self._times(works))
        return max(1, round(min(seconds, self._threads * self._most_seconds / 2) * _PARTS))

    def check(self, works: int | Sequence[Load] = 1) -> None:
        """Sees whether there is a place for the present caller, such as before what the work is about is received.

        Raises:
            OverloadedError: too much waits already.
        """
        if (refusal := self.refusal(CALLER.get(), works)) is not None:
            raise refusal

    @contextlib.contextmanager
    def place(self, works: int | Sequence[Load] = 1) -> Iterator[None]:
        """A place for works of the present caller, which are done meanwhile: so many, or these.

        Raises:
            OverloadedError: too much waits already, by number or by the time that it will take.
        """
        self.check(works)
        caller, number, room = CALLER.get(), works if isinstance(works, int) else len(works), self._counts_for(works)
        seconds = round(sum(self._times(works)) * _PARTS)
        self._unfinished.take(caller, number)
        self._room.take(caller, room)
        self._seconds += seconds
        try:
            yield
        finally:
            self._unfinished.give(caller, number)
            self._room.give(caller, room)
            self._seconds -= seconds

    async def turn(
        self,
        work: Callable[[], Result],
        load: Load | None = None,
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Result:
        """The result of work that has a place, done when its turn comes; `deadline` on the monotonic clock.

        `gone` is asked on the event loop when the turn has come, whether the caller has gone.

        Raises:
            OverloadedError: it waited for twice as long as it was to wait, since other work took longer than expected.
            DeadlineError: the deadline passed before its turn.
            GoneError: nobody waits for the result; the work was not begun.
            Exception: what the work raises, or `permit`.
        """
        caller, load = CALLER.get(), load or self._any
        asked = time.monotonic()
        late = asked + _TWICE * (self._patience + self._seconds / _PARTS / self._threads)
        await self._turns.take(caller)
        try:
            if (now := time.monotonic()) > late:
                raise OverloadedError(f"after {now - asked:.1f} s others still wait to {self._name}")
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineError("the time given for the request passed before its turn came")
            if gone is not None and gone():
                raise GoneError("the caller has gone")
            self._permit()
            running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        except BaseException:
            self._turns.give()
            raise
        running.add_done_callback(partial(self._ended, time.monotonic(), caller, load))
        # Who does not wait any more has begun it all the same: the turn is over when the thread is free.
        return await asyncio.shield(running)

    def _ended(self, began: float, caller: str | None, load: Load, running: "asyncio.Future[Any]") -> None:
        # The exception is logged else, where nobody has waited for it.
        failed = running.cancelled() or running.exception() is not None
        took = time.monotonic() - began
        if took > _TWICE * min(self._usual.of(load), self._few_seconds):
            self._turns.renew(caller)
        for kind in {load, self._any}:
            self._usual.learn(kind, took, failed=failed)
        self._turns.give()

    def close(self) -> None:
        """Lets the threads end with what they do."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _yield_to_others() -> None:
    """On Linux each thread has a niceness; with the lowest one it runs while the event loop waits, and then stops."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
