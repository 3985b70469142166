"""Counts that processes share: their sum is exact, and what a dead one counted stays."""

import mmap
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.tally import SLOTS, Tally, shared_rows

# What is forked does nothing but count.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Counter:
    """A forked process that has a row, and counts as often as it is told."""

    def __init__(self, rows: mmap.mmap, row: int) -> None:
        context = get_context("fork")
        self._pipe, other = context.Pipe()
        self.process = context.Process(target=self._run, args=(rows, row, other))
        self.process.start()

    @staticmethod
    def _run(rows: mmap.mmap, row: int, pipe: Any) -> None:
        tally = Tally(rows, row)
        while (times := pipe.recv()) is not None:
            for _ in range(times):
                tally.own[3] += 1
                tally.own[32767] += 0.5
            pipe.send((tally.total()[[3, 32767]].tolist(), tally.column(3)))

    def count(self, times: int) -> None:
        """Tells it to count, and does not wait."""
        self._pipe.send(times)

    def read(self) -> tuple[list[float], list[float]]:
        """The totals of slots 3 and 32767, and slot 3 of each row, as it sees them when it has counted."""
        assert self._pipe.poll(60)
        totals, column = self._pipe.recv()
        return totals, column

    def counted(self, times: int) -> tuple[list[float], list[float]]:
        """Both."""
        self.count(times)
        return self.read()

    def end(self) -> int | None:
        """Waits for its end; returns its exit status."""
        if self.process.is_alive():
            self._pipe.send(None)
        self.process.join(60)
        return self.process.exitcode


@pytest.fixture
def rows() -> mmap.mmap:
    """Three rows."""
    return shared_rows(3)


@pytest.fixture
def counter(rows: mmap.mmap) -> Iterator[Callable[[int], Counter]]:
    """Makes a counter of a row, which ends with the test."""
    made: list[Counter] = []

    def make(row: int) -> Counter:
        made.append(Counter(rows, row))
        return made[-1]

    yield make
    for each in made:
        each.end()


def held(rows: mmap.mmap) -> NDArray[np.float64]:
    """What the rows hold, read by NumPy alone."""
    return np.frombuffer(rows[:], np.float64).reshape(3, SLOTS)


def test_new_rows_are_empty(rows: mmap.mmap, counter: Callable[[int], Counter]) -> None:
    """There are as many as were asked for, and every count is zero."""
    assert not held(rows).any()
    assert counter(0).counted(0) == ([0, 0], [0, 0, 0])


def test_processes_that_count_at_once_lose_nothing(counter: Callable[[int], Counter]) -> None:
    """Processes that add thousands to the same slots at the same time: each sees the sum of all, exactly."""
    counters = [counter(row) for row in range(3)]
    for each in counters:
        each.count(40_000)
    for each in counters:
        each.read()
    for each in counters:
        assert each.counted(0) == ([120_000, 60_000], [40_000] * 3)
    assert [each.end() for each in counters] == [0] * 3


def test_the_row_of_a_killed_process_is_taken_over_with_its_counts(
    rows: mmap.mmap, counter: Callable[[int], Counter]
) -> None:
    """Who comes after goes on where the dead one stopped: the sum never falls, and no other row is touched."""
    first, second = counter(0), counter(1)
    first.counted(7)
    assert second.counted(100) == ([107, 53.5], [7, 100, 0])
    assert first.process.pid is not None
    os.kill(first.process.pid, signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    assert second.counted(0) == ([107, 53.5], [7, 100, 0])
    assert counter(0).counted(1) == ([108, 54], [8, 100, 0])
    assert held(rows)[:, 3].tolist() == [8, 100, 0]


def test_a_row_of_one_s_own_is_shared_with_nobody() -> None:
    """Two without rows share nothing."""
    one, other = Tally(), Tally()
    one.own[0] += 3
    assert (one.total()[0], other.total()[0]) == (3, 0)
    assert one.column(0) == [3]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(0, 2**40)), max_size=50))
def test_sums_of_whole_numbers_are_exact(added: list[tuple[int, int]]) -> None:
    """Each slot holds exactly what was added to it, by integer arithmetic."""
    tally = Tally()
    expected: dict[int, int] = {}
    for slot, number in added:
        tally.own[slot] += number
        expected[slot] = expected.get(slot, 0) + number
    total = tally.total()
    assert {slot: int(total[slot]) for slot in np.flatnonzero(total)} == {s: n for s, n in expected.items() if n}
