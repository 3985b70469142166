"""A rate that is not to be passed, shared by the worker processes.

The generic cell rate algorithm (ITU-T I.371, annex A): all that is kept is the time at which the bucket is full again,
one number in memory that the workers share since they were forked. It is read and written without a lock, which a
worker that is killed could keep for ever; two workers in the same microsecond may count one request for two.
"""

import time
from collections.abc import Callable


class Bucket:
    """Lets through so many requests a second, and as many at once after a pause."""

    __slots__ = ("_burst", "_clock", "_full", "_interval", "rate")

    def __init__(self, rate: float, full: "memoryview[float]", clock: Callable[[], float] = time.monotonic) -> None:
        """`rate` is in requests a second, above 0; `full` is one float64, 0 at first; the clock is that of all."""
        self.rate = rate
        self._interval = 1 / rate
        self._burst = max(1.0, self._interval)  # seconds: a second's worth at once, and at least one request
        self._full = full
        self._clock = clock

    def take(self) -> float:
        """Takes one request's worth and returns 0; or takes nothing, and returns the seconds until it can be had."""
        now = self._clock()
        full = max(self._full[0], now) + self._interval
        early = full - now - self._burst
        if early > 1e-9:  # more than what is lost in adding up
            return early
        self._full[0] = full
        return 0.0

    def give_back(self) -> None:
        """Puts back what was taken for a request that is taken for anew."""
        self._full[0] -= self._interval
