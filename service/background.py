"""Work that is to hold up nobody: in threads of its own, a few things at a time, each caller in turn."""

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from service.caller import CALLER
from service.errors import DeadlineError, GoneError, OverloadedError
from service.shares import Shares
from service.turns import Turns

Result = TypeVar("Result")

_PATIENCE = 15.0  # seconds: what would not be done by then is refused at once
_FEW = 3  # works for each thread: one caller, who has half of what may wait, sends one while another is done
_OVERTAKING = 1.5  # times what waits takes, that some of it may wait, as newcomers are served before it
_MEMORY = 0.2  # the share that the latest work has in what work usually takes
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
        share in both. Work is taken to need `usual` seconds until some has been done. Where it `yields`, it is done
        when the CPU has nothing else to do. `permit` is called on the event loop before work is begun, and may raise
        what keeps it from being done.
        """
        self._name = name
        self._most_waiting = most_waiting
        self._most_seconds = patience / _OVERTAKING
        self._threads = threads
        self._permit = permit
        self._usual = usual
        self._known = False  # whether that was measured
        self._executor = ThreadPoolExecutor(
            threads, f"worker to {name}", initializer=_yield_to_others if yields else None
        )
        # On the event loop, where a caller can be asked for.
        self._turns = Turns(threads, self._most_seconds * (_OVERTAKING - 1))
        self._unfinished = Shares()

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

    def refusal(self, caller: str | None, works: int = 1) -> OverloadedError | None:
        """Why so many works of a caller would be refused now; None if they would not.

        Works of one request that would have no room anywhere count as half of all that has: alone, it is let in.
        """
        unfinished, most = self._unfinished, self._done_in_time()
        if not unfinished.fits(caller, min(works, most / 2), most):
            seconds = unfinished.total * self._usual / self._threads
            return OverloadedError(f"what waits already to {self._name} takes {seconds:.1f} s")
        if not unfinished.fits(caller, 0, self._most_waiting):
            return OverloadedError(f"{round(unfinished.total) - self._threads} requests wait already to {self._name}")
        return None

    def _done_in_time(self) -> float:
        """How many works are done in time; a few are let in whatever they take."""
        return self._threads * max(self._most_seconds / self._usual, _FEW) if self._usual else math.inf

    def check(self, works: int = 1) -> None:
        """Sees whether there is a place for the present caller, such as before what the work is about is received.

        Raises:
            OverloadedError: too much waits already.
        """
        if (refusal := self.refusal(CALLER.get(), works)) is not None:
            raise refusal

    @contextlib.contextmanager
    def place(self, works: int = 1) -> Iterator[None]:
        """A place for so many works of the present caller, which are done meanwhile.

        Raises:
            OverloadedError: too much waits already, by number or by the time that it will take.
        """
        self.check(works)
        caller = CALLER.get()
        self._unfinished.take(caller, works)
        try:
            yield
        finally:
            self._unfinished.give(caller, works)

    async def turn(
        self,
        work: Callable[[], Result],
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Result:
        """The result of work that has a place, done when its turn comes; `deadline` on the monotonic clock.

        `gone` is asked on the event loop when the turn has come, whether the caller has gone.

        Raises:
            DeadlineError: the deadline passed before its turn.
            GoneError: nobody waits for the result; the work was not begun.
            Exception: what the work raises, or `permit`.
        """
        await self._turns.take(CALLER.get())
        try:
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineError("the time given for the request passed before its turn came")
            if gone is not None and gone():
                raise GoneError("the caller has gone")
            self._permit()
            running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        except BaseException:
            self._turns.give()
            raise
        running.add_done_callback(partial(self._ended, time.monotonic()))
        # Who does not wait any more has begun it all the same: the turn is over when the thread is free.
        return await asyncio.shield(running)

    def _ended(self, began: float, running: "asyncio.Future[Any]") -> None:
        if not running.cancelled():
            running.exception()  # which is logged else, where nobody has waited for it
        took = time.monotonic() - began
        self._usual += (_MEMORY if self._known else 1) * (took - self._usual)
        self._known = True
        self._turns.give()

    def close(self) -> None:
        """Lets the threads end with what they do."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _yield_to_others() -> None:
    """On Linux each thread has a niceness; with the lowest one it runs while the event loop waits, and then stops."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
