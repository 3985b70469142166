"""What is counted, each count in a slot of its own."""

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.metrics import METHODS, REASONS, RUN_STAGES, SECONDS, STAGES, STATUSES, UNKNOWN, Metrics
from service.rejection import REASONS as REJECTIONS
from service.settings import Settings
from service.tally import SLOTS, Tally

ROUTES = ("/a", "/b/{c}", "/a")


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of two routes, which have counted nothing yet."""
    return Metrics(Tally(), ROUTES, 4)


def read(metrics: Metrics, name: str) -> Any:
    """One metric's counts over all workers."""
    return getattr(metrics, name).of(metrics.tally.total())


NAMES = (
    *(
        "pid",
        "requests",
        "seconds",
        "refusals",
        "waits",
        "digits",
        "confidences",
        "rejections",
        "stages",
        "runs",
        "last",
    ),
    "changes",
)


def test_no_two_counts_share_a_slot(metrics: Metrics) -> None:
    """Every metric has as many slots as its shape says, and none of them is another's."""
    slots: Counter[int] = Counter()
    for name in NAMES:
        series = getattr(metrics, name)
        found = [series.slot(*index) for index in np.ndindex(*series.shape)]
        numbered = series.of(np.arange(SLOTS, dtype=np.float64))
        assert numbered.shape == series.shape and numbered.reshape(-1).tolist() == found
        slots.update(found)
    assert set(slots.values()) == {1} and max(slots) < SLOTS
    assert metrics.routes == ("/a", "/b/{c}", UNKNOWN)


requests = st.tuples(
    st.just("answered"),
    st.sampled_from(["/a", "/b/{c}", "/c", UNKNOWN]),
    st.sampled_from(["GET", "POST", "BREW", "other"]),
    st.sampled_from([200, 404, 418, 503, 206, 0]),
    st.sampled_from([0.0, 0.0005, 0.0006, 0.05, 5.0, 5.1, 100.0]),
)
refusals = st.tuples(st.just("refused"), st.sampled_from(REASONS))
stages = st.tuples(st.just("passed"), st.sampled_from(STAGES), st.integers(0, 9), st.floats(0, 9, width=16))


@settings(deadline=None, max_examples=80)
@given(st.lists(requests | refusals | stages, max_size=40))
def test_everything_is_counted_once_and_at_its_place(calls: list[Any]) -> None:
    """After any calls each count is what a dictionary of plain numbers holds, and all others are nothing."""
    metrics = Metrics(Tally(), ROUTES, 4)
    version = metrics.seat("7")
    expected: Counter[tuple[Any, ...]] = Counter()
    for name, *arguments in calls:
        getattr(version if name == "passed" else metrics, name)(*arguments)
        if name == "answered":
            route, method, status, seconds = arguments
            route = route if route in ROUTES else UNKNOWN
            method = method if method in METHODS else "other"
            expected["requests", route, method, status if status in STATUSES else 0] += 1
            expected["seconds", route, sum(seconds > bound for bound in SECONDS)] += 1
            expected["seconds", route, "sum"] += seconds
        elif name == "refused":
            expected["refusals", arguments[0]] += 1
        else:
            stage, count, seconds = arguments
            expected["stages", stage, "count"] += count
            expected["stages", stage, "seconds"] += seconds
    labels: dict[str, tuple[tuple[Any, ...], ...]] = {
        "requests": (metrics.routes, METHODS, STATUSES),
        "seconds": (metrics.routes, (*range(len(SECONDS) + 1), "sum")),
        "refusals": (REASONS,),
        "stages": (STAGES, ("count", "seconds")),
    }
    for name, axes in labels.items():
        counts = version.stages.of(metrics.totals()) if name == "stages" else read(metrics, name)
        assert counts.shape == tuple(map(len, axes))
        for index, count in np.ndenumerate(counts):
            key = (name, *(axis[place] for axis, place in zip(axes, index, strict=True)))
            assert count == pytest.approx(expected[key])


def test_a_run_is_counted_with_its_images_digits_and_stages(metrics: Metrics) -> None:
    """Of a run for three requests each waited for all of it; the digits are added up; the newest run's time is told.

    So are the reasons why some of them are rejected.
    """
    metrics.ran(3, [1, 9, 7, 1], (0.5, 2.0, 0.25))
    metrics.ran(1, [0, 0, 0, 0], (0.5, 1.0, 0.25), ["blank", None, "ambiguous", "blank"])
    metrics.ran(1, [0], (1.0, 1.0, 1.0))
    assert read(metrics, "digits").tolist() == [5, 2, 0, 0, 0, 0, 0, 1, 0, 1]
    assert dict(zip(REJECTIONS, read(metrics, "rejections").tolist(), strict=True)) == {
        "blank": 2,
        "several": 0,
        "not_a_digit": 0,
        "ambiguous": 1,
    }
    runs = read(metrics, "runs")
    assert runs.shape == (5, 1 + len(RUN_STAGES))
    assert runs[4].tolist() == [2, 1.0, 3.0, 0.5] and runs[1].tolist() == [1, 1.0, 1.0, 1.0]
    assert not runs[[0, 2, 3]].any()
    passed = dict(zip(STAGES, read(metrics, "stages").tolist(), strict=True))
    assert passed["compute_input"] == [5, 3 * 0.5 + 0.5 + 1]
    assert passed["compute_infer"] == [5, 3 * 2 + 1 + 1]
    assert passed["compute_output"] == [5, 3 * 0.25 + 0.25 + 1]
    assert passed["success"] == passed["fail"] == passed["queue"] == [0, 0]
    assert read(metrics, "last")[0] > 1.7e9


def test_a_reason_that_nobody_knows_is_a_mistake(metrics: Metrics) -> None:
    """The reasons are those of the errors' tree, and no others are invented."""
    with pytest.raises(KeyError):
        metrics.refused("Whim")


def test_too_many_counts_are_refused() -> None:
    """More than a tally has room for is found out at once, and the largest batch of the settings has room."""
    with pytest.raises(ValueError, match=r"^these metrics need more than the 131072 counts of a tally$"):
        Metrics(Tally(), ROUTES, 2**14)
    create_app(Settings(max_batch=4096))


def test_the_processes_that_count_are_told_while_they_live(metrics: Metrics) -> None:
    """Who has ended is not among them any more, whatever its row still holds."""
    assert metrics.pids() == [os.getpid()]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    metrics.tally.own[metrics.pid.first] = ended.pid
    assert metrics.pids() == []
    metrics.tally.own[metrics.pid.first] = 1  # of another user or not, it is there
    assert metrics.pids() == [1]
