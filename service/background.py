"""Work that is to hold up nobody: in threads of its own, a few things at a time, each caller in turn."""

import asyncio
import contextlib
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

_PATIENCE = 5.0  # seconds: who would have to wait for longer is refused at once
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
        few: int = 0,
        threads: int = 1,
        yields: bool = True,
        permit: Callable[[], None] = lambda: None,
    ) -> None:
        """`name` is what is waited for, as in "wait to be read".

        `most_waiting` may wait at once, and none of them for more than about `patience` seconds; each caller has a
        share in that. A `few` may wait however long that takes. Where it `yields`, the work is done when the CPU has
        nothing else to do. `permit` is called on the event loop before work is begun, and may raise what keeps it from
        being done.
        """
        self._name = name
        self._most_waiting = most_waiting
        self._patience = patience
        self._few = few
        self._threads = threads
        self._permit = permit
        self._usual = 0.0  # seconds of work
        self._executor = ThreadPoolExecutor(
            threads, f"worker to {name}", initializer=_yield_to_others if yields else None
        )
        self._turns = Turns(threads)  # on the event loop, where a caller can be asked for
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

    def refusal(self, caller: str | None) -> OverloadedError | None:
        """Why work of a caller would be refused now; None if it would not."""
        waiting = self._unfinished.total if caller is None else self._unfinished.held(caller)
        # Each caller is served in turn, so who has nothing waiting yet waits for one piece of work of each other.
        seconds = waiting * self._unfinished.callers(caller) * self._usual / self._threads
        too_late = seconds > self._patience and not self._unfinished.fits(caller, 1, self._few)
        if too_late or not self._unfinished.fits(caller, 0, self._most_waiting):
            count = max(0, round(self._unfinished.total) - self._threads)
            return OverloadedError(f"{count} requests wait already to {self._name}")
        return None

    def check(self) -> None:
        """Sees whether there is a place for the present caller, such as before what the work is about is received.

        Raises:
            OverloadedError: too much waits already.
        """
        if (refusal := self.refusal(CALLER.get())) is not None:
            raise refusal

    @contextlib.contextmanager
    def place(self, works: int = 1) -> Iterator[None]:
        """A place for so many works of the present caller, which are done meanwhile.

        Raises:
            OverloadedError: too much waits already, by number or by the time that it will take.
        """
        self.check()
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
        self._usual += _MEMORY * (time.monotonic() - began - self._usual)
        self._turns.give()

    def close(self) -> None:
        """Lets the threads end with what they do."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _yield_to_others() -> None:
    """On Linux each thread has a niceness; with the lowest one it runs while the event loop waits, and then stops."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
