"""The operations of the intake, each compared with OpenCV's."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.raster import (
    Grey,
    blurred,
    dilated,
    dilated_round,
    enlarged,
    eroded,
    eroded_round,
    median,
    pieces,
    shrunk,
    softened,
)

WITHIN = 1e-3  # grey levels of 255: OpenCV sums in float32


def picture(seed: int, height: int, width: int) -> Grey:
    """Grey levels, with even areas and edges as well as noise."""
    generator = np.random.default_rng(seed)
    levels = generator.random((height, width), np.float32) * 255
    levels[generator.random((height, width)) < 0.3] = 0
    levels[: height // 2, : width // 3] = 255
    return levels


pictures = st.builds(picture, st.integers(0, 10**6), st.integers(1, 64), st.integers(1, 64))
sides = st.integers(1, 19)


@settings(deadline=None)
@given(pictures, st.data())
def test_shrinking_averages_over_areas(grey: Grey, data: st.DataObject) -> None:
    """Whatever the two sizes, each pixel is what OpenCV's INTER_AREA gives, and the mean stays the same."""
    height, width = (data.draw(st.integers(1, size)) for size in grey.shape)
    result = shrunk(grey, height, width)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), atol=WITHIN)
    assert abs(result.mean(dtype=np.float64) - grey.mean(dtype=np.float64)) < WITHIN


@settings(deadline=None)
@given(pictures, st.integers(0, 80), st.integers(0, 80), st.booleans())
def test_enlarging_interpolates(grey: Grey, rows: int, columns: int, cubic: bool) -> None:
    """Linearly and by cubic convolution as OpenCV does it, borders included."""
    height, width = grey.shape[0] + rows, grey.shape[1] + columns
    expected = cv2.resize(grey, (width, height), interpolation=cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR)
    np.testing.assert_allclose(enlarged(grey, height, width, cubic=cubic), expected, atol=5 * WITHIN)


@settings(deadline=None)
@given(pictures, sides)
def test_filters_smooth(grey: Grey, side: int) -> None:
    """Median, the small blur and the mean over a square, down to pictures of one pixel and squares larger than they."""
    np.testing.assert_array_equal(median(grey), cv2.medianBlur(grey, 3))
    np.testing.assert_allclose(softened(grey), cv2.GaussianBlur(grey, (3, 3), 0), atol=WITHIN)
    odd = side | 1
    np.testing.assert_allclose(blurred(grey, odd), cv2.blur(grey, (odd, odd)), atol=WITHIN)


@settings(deadline=None)
@given(pictures, sides)
def test_morphology_takes_extremes(grey: Grey, side: int) -> None:
    """In squares and in discs of any side, even ones included, and of masks as of grey levels."""
    square: NDArray[np.uint8] = np.ones((side, side), np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    np.testing.assert_array_equal(dilated(grey, side), cv2.dilate(grey, square))
    np.testing.assert_array_equal(eroded(grey, side), cv2.erode(grey, square))
    np.testing.assert_array_equal(dilated_round(grey, side), cv2.dilate(grey, disc))
    np.testing.assert_array_equal(eroded_round(grey, side), cv2.erode(grey, disc))
    mask = grey > 200
    np.testing.assert_array_equal(dilated(mask, side), cv2.dilate(mask.view(np.uint8), square))
    np.testing.assert_array_equal(eroded(mask, side), cv2.erode(mask.view(np.uint8), square))


@settings(deadline=None)
@given(pictures, st.integers(0, 260))
def test_pieces_are_connected_across_corners(grey: Grey, level: int) -> None:
    """The same pieces as OpenCV's, in whatever order: boxes, areas, and which pixels belong together."""
    mask = grey > level
    labels, parts = pieces(mask)
    count, theirs, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    assert len(parts) == count - 1
    np.testing.assert_array_equal(labels > 0, mask)
    if len(parts):
        pairs = np.unique(np.stack((labels[mask], theirs[mask])), axis=1)
        assert pairs.shape[1] == len(parts) and list(pairs[0]) == list(range(1, count))
        np.testing.assert_array_equal(parts, stats[pairs[1]])


@pytest.mark.parametrize("size", [(2047, 1501), (1501, 2047)])
def test_large_pictures_shrink_as_exactly(size: tuple[int, int]) -> None:
    """No error adds up over the rows of a photograph."""
    grey = picture(3, *size)
    np.testing.assert_allclose(
        shrunk(grey, 640, 470), cv2.resize(grey, (470, 640), interpolation=cv2.INTER_AREA), atol=WITHIN
    )
