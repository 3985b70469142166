"""What the service counts, over all its worker processes.

The counts lie in a `Tally`, where adding is cheap enough for the way of every request; here its slots get their names.
`service.exposition` tells Prometheus of them, and the Open Inference Protocol's statistics are made of them too.
"""

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from service.engine import Engine
from service.rejection import REASONS as REJECTIONS
from service.rejection import Reasons
from service.tally import SLOTS, Tally

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)  # upper bounds of buckets
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
STATUSES = (200, 304, 400, 401, 403, 404, 405, 413, 415, 429, 499, 500, 503, 504, 0)  # 0 is any other
REASONS = (
    "Malformed", "Unknown", "Method", "TooLarge", "NotAPicture", "Overloaded", "Deadline", "Gone", "NotReady", "Engine",
    "Model", "Provider", "Address", "Unauthenticated", "Forbidden", "Limited",
)  # fmt: skip
STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")  # of a request
RUN_STAGES = STAGES[3:]  # of a run of the engine
UNKNOWN = "unknown"  # the route of what is not there: a label for each invented path would fill the memory


@dataclass(frozen=True)
class Series:
    """The slots of one metric, an array of counts in row-major order."""

    first: int
    shape: tuple[int, ...]

    def slot(self, *index: int) -> int:
        """The slot of one count."""
        return self.first + int(np.ravel_multi_index(index, self.shape))

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric's counts, float64 of its shape, out of those of all slots."""
        return values[self.first : self.first + prod(self.shape)].reshape(self.shape)


class Metrics:
    """The counts of one application, in the row of its process.

    Attributes:
        ready: whether this process answers predictions.
        engine: what serves, once it is open.
    """

    def __init__(self, tally: Tally, routes: Iterable[str], max_batch: int) -> None:
        """`routes` are the templates of all paths that are answered, `max_batch` the most images of a run.

        Raises:
            ValueError: a tally has too few slots for them.
        """
        self.tally = tally
        self.ready = False
        self.engine: Engine | None = None
        self.routes = (*dict.fromkeys(routes), UNKNOWN)
        self._free = 0
        self.pid = self._series(1)
        self.requests = self._series(len(self.routes), len(METHODS), len(STATUSES))
        self.seconds = self._series(len(self.routes), len(SECONDS) + 2)  # a count a bucket, and the sum
        self.refusals = self._series(len(REASONS))
        self.digits = self._series(10)
        self.rejections = self._series(len(REJECTIONS))
        self.stages = self._series(len(STAGES), 2)  # requests, and seconds
        self.runs = self._series(max_batch + 1, 1 + len(RUN_STAGES))  # by images: runs, and seconds of each stage
        self.last = self._series(1)  # seconds since the epoch, of the newest run
        self._request_slots = {
            (route, method, status): (
                self.requests.slot(r, m, s),
                self.seconds.slot(r, 0),
                self.seconds.slot(r, len(SECONDS) + 1),
            )
            for r, route in enumerate(self.routes)
            for m, method in enumerate(METHODS)
            for s, status in enumerate(STATUSES)
        }
        self._refusal_slots = {reason: self.refusals.slot(number) for number, reason in enumerate(REASONS)}
        self._rejection_slots: dict[str, int] = {
            reason: self.rejections.slot(number) for number, reason in enumerate(REJECTIONS)
        }
        self._stage_slots = {stage: self.stages.slot(number, 0) for number, stage in enumerate(STAGES)}
        self._own = tally.own
        self._own[self.pid.first] = os.getpid()

    def _series(self, *shape: int) -> Series:
        series = Series(self._free, shape)
        self._free += prod(shape)
        if self._free > SLOTS:
            raise ValueError(f"these metrics need more than the {SLOTS} counts of a tally")
        return series

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request, by its route's template, and its time from its head to its answer's end."""
        slots = self._request_slots.get((route, method, status)) or self._other_slots(route, method, status)
        request, first, last = slots
        self._own[request] += 1
        self._own[first + bisect_left(SECONDS, seconds)] += 1
        self._own[last] += seconds

    def _other_slots(self, route: str, method: str, status: int) -> tuple[int, int, int]:
        known = (
            route if route in self.routes else UNKNOWN,
            method if method in METHODS else METHODS[-1],
            status if status in STATUSES else STATUSES[-1],
        )
        return self._request_slots[known]

    def refused(self, reason: str) -> None:
        """Counts a refusal."""
        self._own[self._refusal_slots[reason]] += 1

    def passed(self, stage: str, requests: int, seconds: float) -> None:
        """Counts requests that passed a stage, and the seconds that it took all of them together."""
        slot = self._stage_slots[stage]
        self._own[slot] += requests
        self._own[slot + 1] += seconds

    def ran(
        self,
        requests: int,
        digits: NDArray[np.int64] | Sequence[int],
        seconds: Sequence[float],
        reasons: Reasons = (),
    ) -> None:
        """Counts a run of the engine for so many requests.

        Of each image its digit and why it is rejected, of each stage its seconds.
        """
        first = self.runs.first + len(digits) * self.runs.shape[1]
        self._own[first] += 1
        for offset, (stage, value) in enumerate(zip(RUN_STAGES, seconds, strict=True), start=1):
            self._own[first + offset] += value
            self.passed(stage, requests, requests * value)  # each request waited for all of it
        for digit, count in enumerate(np.bincount(digits, minlength=10).tolist()):
            if count:
                self._own[self.digits.first + digit] += count
        for reason in reasons:
            if reason is not None:
                self._own[self._rejection_slots[reason]] += 1
        self._own[self.last.first] = time.time()

    def pids(self) -> list[int]:
        """The processes that count here and live."""
        found = {int(pid) for pid in self.tally.column(self.pid.first) if pid}
        return sorted(pid for pid in found if _lives(pid))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user, and so there
        return True
    return True
