"""Work that is to hold up nobody: in a thread of its own, one thing at a time, when the CPU has nothing else to do."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from service.errors import DeadlineError, GoneError, OverloadedError

Result = TypeVar("Result")

_PATIENCE = 5.0  # seconds: who would have to wait for longer is refused at once
_MEMORY = 0.2  # the share that the latest work has in what work usually takes
_LOWEST = 19  # nice(2); the most yielding of all


class Background:
    """The thread, which begins with the first work."""

    def __init__(
        self,
        name: str,
        most_waiting: int,
        patience: float = _PATIENCE,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`most_waiting` may wait at once, and none of them for more than about `patience` seconds.

        `check` is called on the event loop before work is begun, and may raise what keeps it from being done.
        """
        self._most_waiting = most_waiting
        self._patience = patience
        self._check = check
        self._usual = 0.0  # seconds of work
        self._thread = ThreadPoolExecutor(1, name, initializer=_yield_to_others)
        self._turn = asyncio.Lock()  # first come, first served; on the event loop, where a caller can be asked for
        self._unfinished = 0

    async def run(
        self,
        work: Callable[[], Result],
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Result:
        """The result of work, done when its turn comes; `deadline` on the monotonic clock.

        `gone` is asked on the event loop when the turn has come, whether the caller has gone.

        Raises:
            OverloadedError: too much waits already, by number or by the time that it will take; or `check` says so.
            DeadlineError: the deadline passed before its turn.
            GoneError: nobody waits for the result; the work was not begun.
            Exception: what the work raises.
        """
        if self._unfinished > self._most_waiting or self._unfinished * self._usual > self._patience:
            raise OverloadedError(f"{max(0, self._unfinished - 1)} requests wait already to look inside the network")
        self._unfinished += 1
        try:
            await self._turn.acquire()
        except BaseException:
            self._unfinished -= 1
            raise
        try:
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineError("the time given for the request passed before its turn came")
            if gone is not None and gone():
                raise GoneError("the caller has gone")
            self._check()
            running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except BaseException:
            self._leave()
            raise
        running.add_done_callback(partial(self._ended, time.monotonic()))
        # Who does not wait any more has begun it all the same: the turn is over when the thread is free.
        return await asyncio.shield(running)

    def _ended(self, began: float, running: "asyncio.Future[Any]") -> None:
        if not running.cancelled():
            running.exception()  # which is logged else, where nobody has waited for it
        self._usual += _MEMORY * (time.monotonic() - began - self._usual)
        self._leave()

    def _leave(self) -> None:
        self._unfinished -= 1
        self._turn.release()

    def close(self) -> None:
        """Lets the thread end with what it does."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _yield_to_others() -> None:
    """On Linux each thread has a niceness; with the lowest one it runs while the event loop waits, and then stops."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
