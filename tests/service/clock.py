"""An event loop whose time passes only when nothing else is left to do, so that a test of seconds takes none."""

import asyncio
import selectors
from collections.abc import Coroutine
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

Result = TypeVar("Result")


class _Leaping(selectors.DefaultSelector):
    """Instead of waiting for a timer it leaps to it."""

    loop: "Clock"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, at once, but for a wait without a timer, which something else is to end."""
        if timeout:
            self.loop.now += timeout
        return super().select(0 if timeout else timeout)


class Clock(asyncio.SelectorEventLoop):
    """The loop, and the time on its clock in seconds, which is the monotonic clock of `module` while it runs."""

    def __init__(self) -> None:
        selector = _Leaping()
        selector.loop = self
        self.now = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        """The loop's own clock."""
        return self.now

    def finish(self, work: Coroutine[Any, Any, Result], module: str) -> Result:
        """The result of a coroutine, which is not waited for without end."""
        with (
            mock.patch(f"{module}.time", SimpleNamespace(monotonic=self.time)),
            asyncio.Runner(loop_factory=lambda: self) as runner,
        ):
            return runner.run(asyncio.wait_for(work, 10_000))


class Engine(Executor):
    """An executor whose work is done when a test says so, or after a time on a clock.

    Attributes:
        running: how many calls are under way.
        most: how many ever were at once.
    """

    def __init__(self, clock: Clock, seconds: float | None = None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._work: list[tuple[Any, Any, Future[Any]]] = []
        self.running = self.most = 0

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        """Takes work on."""
        done: Future[Any] = Future()
        self._work.append((function, arguments, done))
        self.running += 1
        self.most = max(self.most, self.running)
        if self._seconds is not None:
            self._clock.call_later(self._seconds, self.finish)
        return done

    def finish(self) -> None:
        """Does the oldest work."""
        function, arguments, done = self._work.pop(0)
        self.running -= 1
        if done.set_running_or_notify_cancel():
            done.set_result(function(*arguments))


class Lasting(Executor):
    """An executor whose work says how many seconds it takes on a clock, when it is begun."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        """Takes work on."""
        done: Future[Any] = Future()
        seconds = function(*arguments)
        self._clock.call_later(seconds, done.set_result, seconds)
        return done
