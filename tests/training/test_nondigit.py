"""Pictures of no digit, by what they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from training.data import Digits
from training.nondigit import NON_DIGITS, Sampler


def drawn(kind: str, digits: Digits, seed: int) -> np.ndarray:
    """One picture of a sort."""
    return NON_DIGITS[kind][0](Sampler(digits), np.random.default_rng(seed))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(NON_DIGITS)), st.integers(0, 2**32))
def test_whatever_is_drawn_is_a_picture(digits: Digits, kind: str, seed: int) -> None:
    """Finite grey levels, float32, from 0 to 255, the same for the seed."""
    some = digits.take(slice(200))
    picture = drawn(kind, some, seed)
    assert picture.dtype == np.float32 and picture.ndim == 2 and min(picture.shape) >= 28
    assert 0 <= picture.min() <= picture.max() <= 255
    np.testing.assert_array_equal(drawn(kind, some, seed), picture)


def test_the_shares_are_a_distribution() -> None:
    """They sum to one, and none is left out."""
    assert sum(share for _, share in NON_DIGITS.values()) == pytest.approx(1)
    assert all(share > 0 for _, share in NON_DIGITS.values())


def test_the_quarters_of_a_digit_change_places(digits: Digits) -> None:
    """The four parts are those of some digit, and at most one of them is where it was."""
    some = digits.take(slice(50))
    quarters = {
        bytes(image[0][y : y + 14, x : x + 14].tobytes()) for image in some.images for y in (0, 14) for x in (0, 14)
    }
    for seed in range(30):
        picture = drawn("shuffled", some, seed).astype(np.uint8)
        parts = [picture[y : y + 14, x : x + 14] for y in (0, 14) for x in (0, 14)]
        assert all(part.tobytes() in quarters for part in parts)
        stayed = max(
            sum(
                np.array_equal(part, own)
                for part, own in zip(
                    parts, [image[0][y : y + 14, x : x + 14] for y in (0, 14) for x in (0, 14)], strict=True
                )
            )
            for image in some.images
        )
        assert stayed <= 3  # quarters without ink are alike


def test_what_lies_on_its_side_was_a_digit_that_stands(digits: Digits) -> None:
    """Turned back by a quarter, one way or the other, it is one of the digits that are none when they lie."""
    some = digits.take(slice(100))
    standing = {image[0].tobytes(): label for image, label in zip(some.images, some.labels, strict=True)}
    for seed in range(30):
        picture = drawn("turned", some, seed).astype(np.uint8)
        (label,) = (standing[back] for turns in (1, 3) if (back := np.rot90(picture, turns).tobytes()) in standing)
        assert label in {2, 3, 4, 5, 7}


def test_several_digits_are_wider_than_one(digits: Digits) -> None:
    """Two or three side by side lie within their row, and nearly all are wider than any of MNIST's digits."""
    some = digits.take(slice(100))
    widths = []
    for seed in range(40):
        picture = drawn("several", some, seed)
        assert picture.shape in {(28, 56), (28, 84)}
        widths.append(np.ptp(np.flatnonzero(picture.max(axis=0) > 40)))
    assert np.mean(np.array(widths) > 20) > 0.75
    assert np.mean(np.array(widths) > 12) > 0.9  # ones may lie upon each other


@pytest.mark.parametrize("kind", ["scribble", "sign", "glyph"])
def test_strokes_are_of_a_pen_s_width(digits: Digits, kind: str) -> None:
    """Half the ink's pixels are within a stroke's reach of the ground, by SciPy's distance transform."""
    for seed in range(20):
        ink = drawn(kind, digits, seed) > 127
        assert ink.any()
        assert np.median(ndimage.distance_transform_edt(np.pad(ink, 1))[np.pad(ink, 1)]) < 9
