"""Counts that processes share: their sum is exact, and what a dead one counted stays."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.tally import SLOTS, Tally, shared_tally
from tests.service.serving import ROOT

_COUNT = """
import json, sys
from pathlib import Path
from service.errors import DigitscopeError
from service.tally import Tally

try:
    tally = Tally(Path(sys.argv[1]))
except DigitscopeError as error:
    sys.exit(str(error))
print("open", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        tally.own[3] += 1
        tally.own[32767] += 0.5
    print(json.dumps([tally.total()[[3, 32767]].tolist(), tally.column(3)]), flush=True)
"""


@pytest.fixture
def path() -> Iterator[Path]:
    """A file of three rows."""
    made = shared_tally(3)
    yield made
    made.unlink()


class Counter:
    """A fresh interpreter that takes a row, and counts as often as it is told."""

    def __init__(self, path: Path) -> None:
        self.popen = subprocess.Popen(  # noqa: S603 — our own code
            [sys.executable, "-W", "ignore", "-c", _COUNT, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self._in, self._out = self.popen.stdin, self.popen.stdout
        self.open = self._out.readline() == "open\n"

    def count(self, times: int) -> None:
        """Tells it to count, and does not wait."""
        self._in.write(f"{times}\n")
        self._in.flush()

    def read(self) -> tuple[list[float], list[float]]:
        """The totals of slots 3 and 32767, and slot 3 of each row, as it sees them when it has counted."""
        totals, column = json.loads(self._out.readline())
        return totals, column

    def counted(self, times: int) -> tuple[list[float], list[float]]:
        """Both."""
        self.count(times)
        return self.read()

    def end(self) -> str:
        """Waits for its end; returns what it said of an error."""
        return self.popen.communicate(timeout=60)[1]


def forked(path: Path, times: int) -> int:
    """The same in a process that is forked; returns its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            tally = Tally(path)
            for _ in range(times):
                tally.own[3] += 1
                tally.own[32767] += 0.5
            status = 0
        finally:
            os._exit(status)
    return child


def rows(path: Path) -> NDArray[np.float64]:
    """What the file holds, read by NumPy alone."""
    return np.fromfile(path).reshape(3, SLOTS)


def test_a_new_file_is_empty(path: Path) -> None:
    """It has the rows that were asked for, every count is zero, and it is a temporary file that tells whose."""
    assert path.name.startswith("digitscope-")
    assert path.stat().st_size == 3 * SLOTS * 8
    assert not rows(path).any()
    counter = Counter(path)
    assert counter.counted(0) == ([0, 0], [0, 0, 0])
    counter.end()


def test_processes_that_count_at_once_lose_nothing(path: Path) -> None:
    """Fresh interpreters that add thousands to the same slots at the same time: each sees the sum of all, exactly."""
    counters = [Counter(path) for _ in range(3)]
    for counter in counters:
        counter.count(40_000)
    for counter in counters:
        counter.read()
    for counter in counters:
        assert counter.counted(0) == ([120_000, 60_000], [40_000] * 3)
    assert [counter.end() for counter in counters] == [""] * 3


def test_forked_processes_count_in_rows_of_their_own(path: Path) -> None:
    """A lock is a process' own, whether it was forked or not: no two of them share a row while they live."""
    children = [forked(path, 1_000) for _ in range(20)]
    assert {os.waitpid(child, 0)[1] for child in children} <= {0, 256}
    found = rows(path)
    # With three rows some of the twenty may have found none, but whoever found one counted its thousand whole.
    assert (found[:, 3] % 1_000 == 0).all() and (found[:, 3] >= 1_000).any()
    assert (found[:, 32767] == found[:, 3] / 2).all()


def test_the_row_of_a_killed_process_is_taken_over_with_its_counts(path: Path) -> None:
    """Who comes after goes on where the dead one stopped: the sum never falls, and no other row is touched."""
    first, second = Counter(path), Counter(path)
    first.counted(7)
    assert second.counted(100) == ([107, 53.5], [7, 100, 0])
    first.popen.kill()
    first.end()
    assert second.counted(0) == ([107, 53.5], [7, 100, 0])
    third = Counter(path)
    assert third.counted(1) == ([108, 54], [8, 100, 0])
    for counter in (second, third):
        counter.end()
    assert rows(path)[:, 3].tolist() == [8, 100, 0]


def test_without_a_row_left_a_process_is_refused(path: Path) -> None:
    """One too many gets a sentence, and no part of another's row; when one has ended its place is free."""
    counters = [Counter(path) for _ in range(3)]
    late = Counter(path)
    assert not late.open and late.end() == "more workers run than there are rows to count in\n"
    counters.pop(1).end()
    again = Counter(path)
    assert again.open and again.counted(5) == ([5, 2.5], [0, 5, 0])
    for counter in (*counters, again):
        counter.end()


def test_a_row_of_one_s_own_needs_no_file() -> None:
    """Two without a path share nothing."""
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
