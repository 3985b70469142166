"""Corruptions, measured by what they do to real digits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from training.corruption import CORRUPTIONS, clouds, smooth_field
from training.data import Digits

KINDS = sorted(CORRUPTIONS)
UNLIKE = {"stripe", "outline"}  # that leave a picture with no likeness, point by point, to the digit


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.sampled_from(["digit", "black", "white"]))
def test_whatever_is_drawn_is_a_picture(digits: Digits, kind: str, seed: int, source: str) -> None:
    """Of a digit, and of pictures without any: finite grey levels, float32, from 0 to 255, the same for the seed."""
    levels = {"digit": digits.images[seed % 100, 0], "black": np.zeros((28, 28)), "white": np.full((28, 28), 255)}
    digit = levels[source].astype(np.float32)
    before = digit.copy()
    picture = CORRUPTIONS[kind](digit, np.random.default_rng(seed))
    assert picture.dtype == np.float32 and picture.ndim == 2
    assert picture.shape == (28, 28) or (kind == "paper" and min(picture.shape) >= 56)
    assert 0 <= picture.min() <= picture.max() <= 255
    np.testing.assert_array_equal(digit, before)
    np.testing.assert_array_equal(CORRUPTIONS[kind](digit, np.random.default_rng(seed)), picture)


@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupted_digit_is_changed_and_still_there(digits: Digits, kind: str) -> None:
    """Nearly every picture differs from its digit by more than rounding, and correlates with it, dark or bright."""
    changes, likeness = [], []
    for number, image in enumerate(digits.images[:60, 0].astype(np.float32)):
        picture = CORRUPTIONS[kind](image, np.random.default_rng(number))
        if picture.shape == (28, 28):
            changes.append(np.abs(picture - image).mean())
            likeness.append(abs(np.corrcoef(picture.ravel(), image.ravel())[0, 1]))
    if kind == "paper":
        assert not changes  # larger than the digit, and judged by whoever reads it
        return
    assert np.median(changes) > 0.5
    assert kind in UNLIKE or np.median(likeness) > 0.5


@pytest.mark.parametrize("kind", ["dotted", "zigzag"])
def test_lines_are_added_and_take_nothing(digits: Digits, kind: str) -> None:
    """No pixel is darker than before, and mostly some are brighter: a short line may lie on the ink."""
    visible = 0
    for number, image in enumerate(digits.images[:40, 0].astype(np.float32)):
        picture = CORRUPTIONS[kind](image, np.random.default_rng(number))
        assert (picture >= image).all()
        visible += int((picture > image + 50).sum() >= 2)
    assert visible >= 30


def test_what_is_hidden_is_a_small_part_of_the_ink(digits: Digits) -> None:
    """Pixels become black or stay, within a rectangle of at most 7×7, some ink among them."""
    for number, image in enumerate(digits.images[:40, 0].astype(np.float32)):
        gone = np.argwhere(CORRUPTIONS["hidden"](image, np.random.default_rng(number)) != image)
        assert len(gone)
        assert (np.ptp(gone, axis=0) < 7).all()


def test_noise_has_no_bias(digits: Digits) -> None:
    """Shot noise leaves the mean of mid-grey as it is, and its variance grows with the level, as Poisson's does."""
    grey = np.full((28, 28), 100, np.float32)
    pictures = np.stack([CORRUPTIONS["shot"](grey, np.random.default_rng(n)) for n in range(200)])
    assert pictures.mean() == pytest.approx(100, abs=2)
    darker = np.stack(
        [CORRUPTIONS["shot"](np.full((28, 28), 25, np.float32), np.random.default_rng(n)) for n in range(200)]
    )
    assert np.median(pictures.var(axis=(1, 2)) / darker.var(axis=(1, 2))) == pytest.approx(4, rel=0.25)
    assert len(digits)


@pytest.mark.parametrize("side", [28, 112])
def test_fields_are_smooth_and_span_their_range(side: int) -> None:
    """Least 0, greatest 1; clouds have finer structure than a field of a few cells, by SciPy's Laplacian."""
    rough, smooth = [], []
    for seed in range(20):
        field, cloud = (
            smooth_field(side, 3, np.random.default_rng(seed)),
            clouds(side, np.random.default_rng(seed)),
        )
        for values in (field, cloud):
            assert values.shape == (side, side)
            assert (values.min(), values.max()) == (0, 1)
        smooth.append(np.abs(ndimage.laplace(field)).mean())
        rough.append(np.abs(ndimage.laplace(cloud)).mean())
    assert 1.5 * np.median(smooth) < np.median(rough) < 0.2
