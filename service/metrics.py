"""What the service counts, over all its worker processes.

The counts lie in a `Tally`, where adding is cheap enough for the way of every request; here its slots get their names.
`service.exposition` tells Prometheus of them, and the Open Inference Protocol's statistics are made of them too.
"""

import os
import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from service.engine import Engine
from service.rejection import REASONS as REJECTIONS
from service.rejection import Reasons
from service.tally import SLOTS, Tally

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)  # upper bounds of buckets
CONFIDENCES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)  # upper bounds of buckets
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
STATUSES = (200, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 499, 500, 503, 504, 0)  # 0 is any other
REASONS = (
    "Malformed", "Unknown", "Method", "TooLarge", "NotAPicture", "Overloaded", "Deadline", "Gone", "NotReady", "Engine",
    "Model", "Provider", "Address", "Unauthenticated", "Forbidden", "Limited", "Version", "Slow", "Telemetry",
)  # fmt: skip
STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")  # of a request
RUN_STAGES = STAGES[3:]  # of a run of the engine
MOST_VERSIONS = 4  # that are served at once
_SEATS = MOST_VERSIONS + 1  # one for that which has just been let go, and still answers what it was asked
CHANGES = ("loaded", "unloaded", "refused")
_CONFIDENCES = np.array(CONFIDENCES, np.float32)  # as those that are counted are, so that none lies beside its bound
Confidences = NDArray[np.float32]
UNKNOWN = "unknown"  # the route of what is not there: a label for each invented path would fill the memory


@dataclass(frozen=True)
class Series:
    """The slots of one metric, an array of counts in row-major order."""

    first: int
    shape: tuple[int, ...]

    def slot(self, *index: int) -> int:
        """The slot of one count."""
        return self.first + int(np.ravel_multi_index(index, self.shape))

    @property
    def slots(self) -> range:
        """The slots of all its counts."""
        return range(self.first, self.first + prod(self.shape))

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric's counts, float64 of its shape, out of those of all slots."""
        return values[self.first : self.first + prod(self.shape)].reshape(self.shape)


class Statistics(NamedTuple):
    """What was counted of one version: float64 (stages, 2), (images + 1, 1 + stages of a run), and the last run."""

    stages: NDArray[np.float64]
    runs: NDArray[np.float64]
    last: float


class Counts:
    """How often and how long one version was asked, in the row of this process.

    Attributes:
        stages, runs, last: its series, as those of `Metrics`, which hold what has no seat of its own.
    """

    def __init__(self, tally: Tally, stages: Series, runs: Series, last: Series) -> None:
        self.stages, self.runs, self.last = stages, runs, last
        self._own = tally.own
        self._stage_slots = {stage: stages.slot(number, 0) for number, stage in enumerate(STAGES)}

    def passed(self, stage: str, requests: int, seconds: float) -> None:
        """Counts requests that passed a stage, and the seconds that it took all of them together."""
        slot = self._stage_slots[stage]
        self._own[slot] += requests
        self._own[slot + 1] += seconds

    def hand_over(self, others: Self) -> None:
        """Adds all that was counted here to others, and begins anew."""
        for own, other in ((self.stages, others.stages), (self.runs, others.runs)):
            for slot, place in zip(own.slots, other.slots, strict=True):
                if count := self._own[slot]:
                    self._own[place] += count
                    self._own[slot] = 0
        self._own[self.last.first] = 0

    def ran(self, requests: int, images: int, seconds: Sequence[float]) -> None:
        """Counts a run of the engine on so many images for so many requests, with the seconds of each stage."""
        first = self.runs.first + images * self.runs.shape[1]
        self._own[first] += 1
        for offset, (stage, value) in enumerate(zip(RUN_STAGES, seconds, strict=True), start=1):
            self._own[first + offset] += value
            self.passed(stage, requests, requests * value)  # each request waited for all of it
        self._own[self.last.first] = time.time()

    def joined(self, images: int, seconds: float) -> None:
        """Counts seconds that what comes of runs on so many images each took, as those of their last stage."""
        self._own[self.runs.first + images * self.runs.shape[1] + len(RUN_STAGES)] += seconds
        self.passed(RUN_STAGES[-1], 0, seconds)


class Metrics:
    """The counts of one application, in the row of its process.

    Attributes:
        ready: whether this process answers predictions.
        engine: what serves, once it is open.
        served: the versions that are served, whose counts are kept apart.
    """

    def __init__(self, tally: Tally, routes: Iterable[str], max_batch: int) -> None:
        """`routes` are the templates of all paths that are answered, `max_batch` the most images of a run.

        Raises:
            ValueError: a tally has too few slots for them.
        """
        self.tally = tally
        self.ready = False
        self.engine: Engine | None = None
        self.served: Collection[str] = ()
        self.routes = (*dict.fromkeys(routes), UNKNOWN)
        self._free = 0
        self.pid = self._series(1)
        self.requests = self._series(len(self.routes), len(METHODS), len(STATUSES))
        self.seconds = self._series(len(self.routes), len(SECONDS) + 2)  # a count a bucket, and the sum
        self.refusals = self._series(len(REASONS))
        self.waits = self._series(len(SECONDS) + 2)  # as those of a route
        self.digits = self._series(10)
        self.confidences = self._series(len(CONFIDENCES) + 2)
        self.rejections = self._series(len(REJECTIONS))
        self.changes = self._series(len(CHANGES))
        self._others = self._counts(max_batch)  # of versions that have lost their seats
        self.stages, self.runs, self.last = self._others.stages, self._others.runs, self._others.last
        self._seats = [self._counts(max_batch) for _ in range(_SEATS)]
        self._owners = self._series(_SEATS)  # the version in each seat of this row, 0 in one that is free
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
        self._own = tally.own
        self._own[self.pid.first] = os.getpid()

    def _series(self, *shape: int) -> Series:
        series = Series(self._free, shape)
        self._free += prod(shape)
        if self._free > SLOTS:
            raise ValueError(f"these metrics need more than the {SLOTS} counts of a tally")
        return series

    def _counts(self, max_batch: int) -> Counts:
        return Counts(
            self.tally,
            stages=self._series(len(STAGES), 2),  # requests, and seconds
            runs=self._series(max_batch + 1, 1 + len(RUN_STAGES)),  # by images: runs, and seconds of each stage
            last=self._series(1),  # seconds since the epoch, of the newest run
        )

    def seat(self, version: str) -> Counts:
        """Where a version is counted in this row: it goes on where it stopped, unless others needed its seat since."""
        owners = [self._own[slot] for slot in self._owners.slots]
        if float(version) in owners:
            return self._seats[owners.index(float(version))]
        kept = {float(other) for other in self.served}
        seat = min(
            (number for number in range(_SEATS) if owners[number] not in kept),
            key=lambda number: self._own[self._seats[number].last.first],  # one that is free has counted nothing
        )
        self._own[self._owners.slot(seat)] = 0
        self._seats[seat].hand_over(self._others)
        self._own[self._owners.slot(seat)] = float(version)
        return self._seats[seat]

    def totals(self) -> NDArray[np.float64]:
        """The counts of all slots, over all workers, float64."""
        return self.tally.total(self._free)

    def all_runs(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Runs and their seconds by images, as `runs` has them, of all versions that ever were."""
        runs: NDArray[np.float64] = sum((seat.runs.of(totals) for seat in self._seats), self.runs.of(totals))
        return runs

    def statistics(self, version: str) -> Statistics:
        """How often and how long a version was asked, over all workers."""
        rows = self.tally.rows(self._free)
        stages, runs, last = np.zeros(self.stages.shape), np.zeros(self.runs.shape), 0.0
        owners = rows[:, self._owners.first : self._owners.first + _SEATS]
        for row, seat in np.argwhere(owners == float(version)):
            counts = self._seats[seat]
            stages += counts.stages.of(rows[row])
            runs += counts.runs.of(rows[row])
            last = max(last, float(rows[row, counts.last.first]))
        return Statistics(stages, runs, last)

    def changed(self, outcome: str) -> None:
        """Counts a change of model, or one that was refused."""
        self._own[self.changes.slot(CHANGES.index(outcome))] += 1

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

    def waited(self, seconds: Sequence[float], counts: Counts | None = None) -> None:
        """Counts requests that the engine begins with, each by the seconds that it has waited for that."""
        first = self.waits.first
        for each in seconds:
            self._own[first + bisect_left(SECONDS, each)] += 1
        together = sum(seconds)
        self._own[first + len(SECONDS) + 1] += together
        (counts or self._others).passed("queue", len(seconds), together)

    def ran(
        self,
        requests: int,
        digits: NDArray[np.int64] | Sequence[int],
        seconds: Sequence[float],
        reasons: Reasons = (),
        counts: Counts | None = None,
        confidences: Confidences | Sequence[float] = (),
    ) -> None:
        """Counts a run of the engine for so many requests.

        Of each image its digit, its confidence and why it is rejected, of each stage its seconds. `counts` are those of
        its version.
        """
        (counts or self._others).ran(requests, len(digits), seconds)
        self.found(digits, reasons, confidences)

    def found(
        self,
        digits: NDArray[np.int64] | Sequence[int],
        reasons: Reasons = (),
        confidences: Confidences | Sequence[float] = (),
    ) -> None:
        """Counts what images were read as, and why they are rejected."""
        first = self.confidences.first
        for place, count in enumerate(np.bincount(_CONFIDENCES.searchsorted(confidences)).tolist()):
            if count:
                self._own[first + place] += count
        self._own[first + len(CONFIDENCES) + 1] += float(np.add.reduce(confidences))  # a third of what np.sum takes
        for digit, count in enumerate(np.bincount(digits, minlength=10).tolist()):
            if count:
                self._own[self.digits.first + digit] += count
        for reason in reasons:
            if reason is not None:
                self._own[self._rejection_slots[reason]] += 1

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
