"""Arithmetic of the benchmarks, against NumPy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import in_a_row, percentile, ratios, short, spread

_FINITE = st.floats(-1e9, 1e9)


@given(st.lists(_FINITE, min_size=1), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    """Any percentile of any values is what NumPy computes."""
    expected = np.percentile(values, percent)
    assert percentile(sorted(values), percent) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_nothing_has_no_percentile() -> None:
    """A run without an answer has no latency, rather than a good one."""
    assert math.isnan(percentile([], 99))


def test_ratios_are_taken_within_each_round() -> None:
    """A machine that is half as fast in one round changes no ratio; a round that lacks a side has none."""
    assert ratios([200.0, 100.0, 50.0, None], [100.0, 50.0, None, 10.0]) == [2.0, 2.0]
    assert ratios([1.0], [0.0]) == []


def test_stages_in_a_row_add_their_times() -> None:
    """The limit of the issue: 31,600 a second and then 20,000 a second come to about 12,200."""
    assert in_a_row(31_600, 20_000) == pytest.approx(12_248, abs=1)


def test_a_spread_tells_median_least_and_most() -> None:
    """It is what a table's cell shows, with the digits that are worth reading."""
    assert str(spread([1200.4, 1000.0, 1500.0])) == "1,200 (1,000–1,500)"
    assert short(0.12345) == "0.123"
