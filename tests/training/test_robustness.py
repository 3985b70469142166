"""The sets that models are judged by, and the figures, against NumPy and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from service.engine import Engine
from tests.training.conftest import make_manifest
from training.corruption import CORRUPTIONS
from training.data import Digits
from training.model import DigitNet
from training.nondigit import NON_DIGITS
from training.robustness import corrupted_digits, judge, non_digits, redrawn, roc_area

VALUES = arrays(np.float64, st.integers(1, 30), elements=st.integers(-4, 4).map(float))


@given(VALUES, VALUES)
def test_the_area_is_mann_whitney_s(more: np.ndarray, less: np.ndarray) -> None:
    """Over all pairs, ties counted half: SciPy's U divided by their number."""
    u = stats.mannwhitneyu(more, less).statistic
    assert roc_area(more, less) == pytest.approx(u / len(more) / len(less))


def test_the_sets_are_the_same_each_time(digits: Digits) -> None:
    """Redrawn, corrupted and drawn pictures come again bit for bit, as many as digits, with the digits' labels."""
    some = digits.take(slice(20))
    for make in (redrawn, lambda few: corrupted_digits(few, "fog")):
        first, second = make(some), make(some)
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, some.labels)
        assert first.images.shape == (20, 1, 28, 28) and first.images.dtype == np.uint8
        assert (first.images != some.images).any(axis=(1, 2, 3)).mean() > 0.9
    drawn = non_digits(some, "sign")
    assert drawn.shape == (20, 1, 28, 28)
    np.testing.assert_array_equal(drawn, non_digits(some, "sign"))


def test_every_kind_is_judged(network: DigitNet, digits: Digits) -> None:
    """Each kind and sort has its figure, equal to what the network's own answers give, and the means are over them."""
    some = digits.take(slice(30))
    model, manifest = make_manifest(network, 1.5, some)
    engine = Engine(model, manifest, provider="cpu")
    found = judge(engine, some, 1.5)
    assert found.corrupted.keys() == CORRUPTIONS.keys()
    assert found.non_digits.keys() == NON_DIGITS.keys()
    changed = corrupted_digits(some, "zigzag")
    logits, _ = engine.predict(changed.images)
    assert found.corrupted["zigzag"] == np.mean(logits.argmax(axis=1) == some.labels)
    scores = [
        np.logaddexp.reduce(1.5 * engine.predict(images)[0].astype(np.float64), axis=1)
        for images in (some.images, non_digits(some, "turned"))
    ]
    assert found.non_digits["turned"] == pytest.approx(
        np.mean([[(a > b) + (a == b) / 2 for b in scores[1]] for a in scores[0]]), abs=2 / 900
    )
    metrics = found.metrics()
    assert metrics["corrupted_accuracy"] == pytest.approx(sum(found.corrupted.values()) / len(CORRUPTIONS))
    assert metrics["non_digits_auc"] == pytest.approx(sum(found.non_digits.values()) / len(NON_DIGITS))
    assert metrics["redrawn_accuracy"] == found.redrawn
