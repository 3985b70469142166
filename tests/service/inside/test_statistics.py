"""Statistics of channels, against sums over Python's own numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from service.inside.statistics import statistics

VALUES = array_shapes(min_dims=2, max_dims=4, max_side=4).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-4, 4, width=16) | st.just(0.0) | st.just(-0.0))
)


@settings(deadline=None)
@given(VALUES)
def test_each_channel_has_its_own(values: NDArray[np.float32]) -> None:
    """Extremes, mean and fractions of each picture's each channel, maps and single values alike; flags of maps."""
    facts = statistics(values)
    for place in np.ndindex(values.shape[:2]):
        numbers = [float(value) for value in values[place].ravel()]
        assert facts["minimum"][place] == min(numbers) and facts["maximum"][place] == max(numbers)
        assert facts["mean"][place] == pytest.approx(math.fsum(numbers) / len(numbers), abs=1e-6)
        assert facts["zeros"][place] == np.float32(numbers.count(0) / len(numbers))
        positive = sum(number > 0 for number in numbers)
        assert facts["positive"][place] == np.float32(positive / len(numbers))
        if values.ndim > 2:
            assert facts["dead"][place] == (positive == 0) and facts["saturated"][place] == (positive == len(numbers))
    assert ("dead" in facts) == ("saturated" in facts) == (values.ndim > 2)
    assert {name: (fact.shape, fact.dtype.name) for name, fact in facts.items()} == {
        name: (values.shape[:2], "bool" if name in ("dead", "saturated") else "float32") for name in facts
    }


@settings(deadline=None)
@given(VALUES)
def test_a_relu_changes_no_flag(values: NDArray[np.float32]) -> None:
    """Dead and saturated are told of the values before the ReLU and after it alike."""
    before, after = statistics(values), statistics(np.maximum(values, 0))
    for flag in ("dead", "saturated", "positive") if values.ndim > 2 else ("positive",):
        np.testing.assert_array_equal(before[flag], after[flag])
