"""The calibration temperature against another minimiser, one that is known, and the thresholds by their counts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, special

from training.calibrate import AMBIGUOUS, NOT_A_DIGIT, fit_rejection, fit_temperature


def sample(seed: int, count: int, sharpness: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits, and labels drawn by the probabilities that softmax gives them."""
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.normal(size=(count, 10))
    labels = (special.softmax(logits, axis=1).cumsum(axis=1) < generator.uniform(size=(count, 1))).sum(axis=1)
    return logits, np.minimum(labels, 9)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_the_temperature_is_scipy_s_minimum(seed: int, factor: float) -> None:
    """SciPy's search for the least cross-entropy, written in NumPy, ends at the same temperature."""
    logits, labels = sample(seed, 500, 3)
    logits = logits * factor

    def cross_entropy(log_temperature: float) -> float:
        chances = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-chances[np.arange(len(labels)), labels].mean())

    found = optimize.minimize_scalar(cross_entropy, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(torch.tensor(logits), torch.tensor(labels)) == pytest.approx(np.exp(found.x), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    """Labels drawn by softmax(z) and logits z·T give T, up to what 10,000 draws leave open."""
    logits, labels = sample(0, 10_000, 2)
    assert fit_temperature(torch.tensor(logits) * temperature, torch.tensor(labels)) == pytest.approx(
        temperature, rel=0.04
    )


def test_a_network_that_is_never_wrong_gets_a_finite_temperature() -> None:
    """Where cross-entropy falls for ever as the temperature does, the search ends at its bound."""
    logits = torch.eye(10)
    assert fit_temperature(logits, torch.arange(10)) == pytest.approx(1 / 20)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2_000, 6_000))
def test_the_thresholds_reject_their_shares(seed: int, count: int) -> None:
    """Of the digits that they are fitted on, at most their shares are below them, and nearly that; together < 0.5 %.

    Of fewer than 2,000, one digit more or less for each threshold would be more than the tenth of a per cent between.
    """
    generator = np.random.default_rng(seed)
    evidence, confidences = generator.normal(5, 2, count), generator.beta(20, 1, count)
    found = fit_rejection(evidence, confidences)
    assert found.evidence is not None and found.confidence is not None
    unlike = evidence < found.evidence
    unsure = ~unlike & (confidences < found.confidence)
    assert abs(unlike.sum() - NOT_A_DIGIT * count) <= 1
    assert abs(unsure.sum() - AMBIGUOUS * count) <= 1
    assert (unlike | unsure).mean() <= 0.005
