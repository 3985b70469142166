"""A layer in integers: what rounding loses, and what bias and feedback give back."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.rounding import Integers, in_steps, integers

STEP = np.float32(0.02)


@pytest.fixture(scope="module")
def layer() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Weights (16, 40), a bias and 4,000 inputs that vary alike, as those of neighbouring pixels do."""
    generator = np.random.default_rng(7)
    mixed = generator.normal(size=(4000, 8)) @ generator.normal(size=(8, 40)) * 0.5
    inputs = np.maximum(mixed + generator.normal(size=40), 0).astype(np.float32)
    weight = (generator.normal(size=(16, 40)) * generator.uniform(0.1, 3, (16, 1))).astype(np.float32)
    return weight, generator.normal(size=16).astype(np.float32), inputs


def errors(
    made: Integers, weight: NDArray[np.float32], bias: NDArray[np.float32], inputs: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What integer arithmetic gives for the inputs, less what float64 gives, (n, units)."""
    steps = np.clip(np.rint(inputs / STEP), 0, 255).astype(np.int64)
    sums = steps @ made.weight.T.astype(np.int64) + made.bias
    exact = inputs.astype(np.float64) @ weight.T.astype(np.float64) + bias
    difference: NDArray[np.float64] = sums * made.bias_scale.astype(np.float64) - exact
    return difference


def test_steps_are_what_uint8_holds() -> None:
    """Halves go to the even step, as ONNX defines, and what is out of range to its ends."""
    values = np.array([-1, 0, 0.25, 0.5, 0.75, 127.5, 200], np.float32)
    np.testing.assert_array_equal(in_steps(values, np.float32(0.5)), [0, 0, 0, 1, 2, 255, 255])


@pytest.mark.parametrize("feedback", [False, True])
def test_the_mean_of_every_sum_is_kept(
    layer: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], feedback: bool
) -> None:
    """Over the inputs it was made from, to half a unit of the bias; clipped ones are made up for as well."""
    made = integers(*layer, STEP, feedback=feedback)
    assert (layer[2] > 255 * STEP).any()
    assert (np.abs(errors(made, *layer).mean(axis=0)) <= 0.51 * made.bias_scale).all()


def test_without_feedback_each_weight_goes_to_the_nearest_integer(
    layer: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """In steps of 1/64 of the largest of its unit."""
    weight = layer[0]
    made = integers(*layer, STEP, feedback=False)
    np.testing.assert_array_equal(np.abs(made.weight.astype(int)).max(axis=1), 64)
    assert (np.abs(made.weight - weight / made.weight_scale[:, None]) <= 0.5001).all()


def test_feedback_errs_less_on_inputs_that_were_not_seen(
    layer: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """By a fifth at least in the sums' standard error, where inputs vary alike as here; and weights stay within ±64."""
    weight, bias, inputs = layer
    inputs = np.minimum(inputs, 255 * STEP)
    error = []
    for feedback in (False, True):
        made = integers(weight, bias, inputs[:2000], STEP, feedback=feedback)
        error.append(errors(made, weight, bias, inputs[2000:]).std())
        assert np.abs(made.weight.astype(int)).max() <= 64
    assert error[1] < 0.8 * error[0]


@pytest.mark.parametrize("feedback", [False, True])
def test_a_unit_of_zeros_stays_one(feedback: bool) -> None:
    """It has no largest weight to take its scale from; an input that is always the same harms nothing either."""
    inputs = np.random.default_rng(1).uniform(0, 5, (100, 3)).astype(np.float32)
    inputs[:, 1] = 2
    weight = np.array([[0, 0, 0], [1, 2, 3]], np.float32)
    made = integers(weight, np.zeros(2, np.float32), inputs, STEP, feedback=feedback)
    assert (made.weight[0] == 0).all() and made.bias[0] == 0 and made.weight[1, 2] == 64
