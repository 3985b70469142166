"""How values become pictures: each way by its own definition."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.operators.appearance import Show, appearance_of, draw, usual
from service.painting.colour import paint

VALUES = np.array([[-2, -0.5, 0], [0.25, 1, 4]], np.float32)


def drawn(values: NDArray[np.float32], show: Show) -> NDArray[np.uint8]:
    """The pixels of the picture."""
    return np.asarray(Image.open(io.BytesIO(draw(values, appearance_of(values, show)))))


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        ("grey", [[0, 0, 0], [64, 255, 255]]),
        ("range", [[0, 64, 85], [96, 128, 255]]),
        ("magnitude", [[128, 32, 0], [16, 64, 255]]),
    ],
)
def test_grey_levels_are_those_of_the_definition(show: Show, expected: list[list[int]]) -> None:
    """Cut off at 0 and 1, from the smallest to the largest, or by magnitude."""
    np.testing.assert_array_equal(drawn(VALUES, show), expected)


def test_signed_values_have_the_colours_of_the_feature_maps() -> None:
    """The same palette, over ± the largest magnitude, so that 0 is near white."""
    np.testing.assert_array_equal(drawn(VALUES, "signed"), paint(VALUES, -4, 4, signed=True))
    assert appearance_of(VALUES, "signed") == ("signed", -4, 4)
    assert drawn(VALUES, "signed")[0, 2].min() > 240


@pytest.mark.parametrize("show", ["grey", "range", "signed", "magnitude"])
@pytest.mark.parametrize("value", [-3, 0, 0.5, 1e-45, 1e6])
def test_values_that_are_all_the_same_are_shown(show: Show, value: float) -> None:
    """One colour, and no division by nothing."""
    pixels = drawn(np.full((3, 4), value, np.float32), show)
    assert pixels.shape[:2] == (3, 4) and (pixels == pixels[0, 0]).all()


@pytest.mark.parametrize(
    ("bounds", "keeps", "expected"),
    [
        ((0, 1), False, "grey"),
        ((0.2, 0.8), False, "grey"),
        ((-4, 4), False, "signed"),
        ((-1, 2), True, "grey"),
        ((0, 2), False, "range"),
    ],
)
def test_what_suits_follows_from_the_bounds(bounds: tuple[float, float], keeps: bool, expected: Show) -> None:
    """Pictures are grey, values with signs have colours, and sums have their range."""
    assert usual(bounds, keeps_brightness=keeps) == expected
