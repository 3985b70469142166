"""Operations on grey levels that the intake is made of: resampling, median, blur, morphology, connected pieces.

NumPy does them, but for the labels of connected pieces. OpenCV has them all and is what the tests compare with, but it
is 150 MB in an image, and 35 ms and 17 MB in a process, for a dozen functions.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeVar, cast

import cc3d
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
_Pixels = TypeVar("_Pixels", Grey, Mask)
_Wider = Callable[..., _Pixels]
Labels = NDArray[np.integer]
"""The number of the piece that each pixel belongs to, from 1, and 0 where there is none, (height, width)."""


class Pieces(NamedTuple):
    """Connected pieces of a mask, neighbours across a corner included.

    `parts` int32 (n, 5) has the left, top, width, height and area in pixels of piece i + 1 in its row i.
    """

    labels: Labels
    parts: NDArray[np.int32]


def pieces(mask: Mask) -> Pieces:
    """The connected pieces of a mask (height, width)."""
    labels, count = labelled(mask)
    return Pieces(labels, parts_of(labels) if count else np.zeros((0, 5), np.int32))


def labelled(mask: Mask) -> tuple[Labels, int]:
    """The labels of the connected pieces of a mask (height, width), and how many pieces there are.

    For a small picture that is a third of the work, and most have one piece, of which nobody asks for more.
    """
    # As numbers: cc3d 4.1.1 takes some pieces of booleans apart.
    return cast("tuple[Labels, int]", cc3d.connected_components(mask.view(np.uint8), connectivity=8, return_N=True))


def parts_of(labels: Labels) -> NDArray[np.int32]:
    """Box and area of each piece, as `Pieces` has them."""
    found = cc3d.statistics(labels, no_slice_conversion=True)
    top, bottom, left, right = found["bounding_boxes"][1:, :4].astype(np.int32).T  # the last ones are within
    area = found["voxel_counts"][1:].astype(np.int32)
    return np.stack((left, top, right - left + 1, bottom - top + 1, area), axis=1)


def shrunk(picture: Grey, height: int, width: int) -> Grey:
    """A picture of at most its own size: each pixel the mean of the area that it covers."""
    return _resampled(picture, height, width, _areas)


def enlarged(picture: Grey, height: int, width: int, *, cubic: bool) -> Grey:
    """A larger picture, interpolated linearly or by R. Keys' cubic convolution with a = −0.75 (IEEE TASSP 29, 1981).

    Beyond the border the picture goes on with its border's pixels.
    """
    return _resampled(picture, height, width, _cubic if cubic else _linear)


class _Taps(NamedTuple):
    """Which rows each new row is made of, and how much it takes of each: both (new rows, taps)."""

    places: NDArray[np.intp]
    weights: Grey


def _resampled(picture: Grey, height: int, width: int, taps: Callable[[int, int], _Taps]) -> Grey:
    for size in (height, width):
        count = len(picture)
        if size != count:
            places, weights = taps(count, size)
            picture = (weights[:, None] @ picture[places])[:, 0]
        picture = np.ascontiguousarray(picture.T)
    return picture


@lru_cache(maxsize=256)
def _areas(count: int, size: int) -> _Taps:
    scale = count / size
    start = np.arange(size)[:, None] * scale
    places = np.floor(start).astype(np.intp) + np.arange(math.ceil(scale) + 1)
    weights = np.minimum(places + 1, start + scale) - np.maximum(places, start)
    return _taps(places, np.maximum(weights, 0) / scale, count)


@lru_cache(maxsize=256)
def _linear(count: int, size: int) -> _Taps:
    places, distance = _around(count, size, (0, 1))
    return _taps(places, 1 - distance, count)


@lru_cache(maxsize=256)
def _cubic(count: int, size: int) -> _Taps:
    places, distance = _around(count, size, (-1, 0, 1, 2))
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return _taps(places, np.where(distance <= 1, near, far), count)


def _around(count: int, size: int, steps: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The rows around the middle of each new one, and how far they are from it."""
    middle = (np.arange(size)[:, None] + 0.5) * (count / size) - 0.5
    places = np.floor(middle).astype(np.intp) + np.array(steps)
    return places, np.abs(middle - places)


def _taps(places: NDArray[np.intp], weights: NDArray[np.float64], count: int) -> _Taps:
    return _Taps(np.clip(places, 0, count - 1), weights.astype(np.float32))


def median(picture: Grey) -> Grey:
    """The median of the 3×3 pixels around each; beyond the border the picture goes on with its border's pixels.

    Columns of three are put in order once: the median of nine is that of the largest of their least, the median of
    their middle ones and the least of their largest (J. L. Smith, "Implementing median filters in
    XC4000E FPGAs", Xcell 23, 1996).
    """
    padded = np.pad(picture, 1, mode="edge")
    above, middle, below = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum(above, middle), np.maximum(above, middle)
    between = np.maximum(low, np.minimum(high, below))
    low, high = np.minimum(low, below), np.maximum(high, below)
    return _middle(
        np.maximum(np.maximum(low[:, :-2], low[:, 1:-1]), low[:, 2:]),
        _middle(between[:, :-2], between[:, 1:-1], between[:, 2:]),
        np.minimum(np.minimum(high[:, :-2], high[:, 1:-1]), high[:, 2:]),
    )


def _middle(one: Grey, two: Grey, three: Grey) -> Grey:
    """The median of three, pixel by pixel."""
    result: Grey = np.maximum(np.minimum(one, two), np.minimum(np.maximum(one, two), three))
    return result


def softened(picture: Grey) -> Grey:
    """The picture blurred by (1, 2, 1)/4 along each axis, mirrored beyond the border's pixels."""
    padded = np.pad(picture, 1, mode="reflect")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    result: Grey = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / np.float32(16)
    return result


def blurred(picture: Grey, side: int) -> Grey:
    """The mean of the pixels in a square of an odd side around each, mirrored beyond the border's pixels."""
    padded = np.pad(picture, side // 2, mode="reflect").astype(np.float64)
    for _ in range(2):
        sums = np.zeros((len(padded) + 1, padded.shape[1]))
        np.cumsum(padded, axis=0, out=sums[1:])
        padded = ((sums[side:] - sums[:-side]) / side).T
    return padded.astype(np.float32)


def dilated(picture: _Pixels, side: int) -> _Pixels:
    """The largest in a square around each pixel, with side // 2 of its pixels before it."""
    return _extremes(picture, side, np.maximum, _least(picture))


def eroded(picture: _Pixels, side: int) -> _Pixels:
    """The least in a square around each pixel, with side // 2 of its pixels before it."""
    return _extremes(picture, side, np.minimum, _most(picture))


def _least(picture: _Pixels) -> float | bool:
    """What changes no maximum."""
    return False if picture.dtype == bool else -math.inf


def _most(picture: _Pixels) -> float | bool:
    """What changes no minimum."""
    return True if picture.dtype == bool else math.inf


def _extremes(picture: _Pixels, side: int, wider: _Wider[_Pixels], nothing: float | bool) -> _Pixels:
    values = np.pad(picture, (side // 2, (side - 1) // 2), constant_values=nothing)
    # Two windows of a length make one of up to twice that, so a side costs its logarithm.
    for _ in range(2):
        length = 1
        while length < side:
            step = min(length, side - length)
            values = wider(values[:-step], values[step:])
            length += step
        values = values.T
    return values


def dilated_round(picture: Grey, side: int) -> Grey:
    """The largest in a disc around each pixel."""
    return _round_extremes(picture, side, np.maximum, -math.inf)


def eroded_round(picture: Grey, side: int) -> Grey:
    """The least in a disc around each pixel."""
    return _round_extremes(picture, side, np.minimum, math.inf)


def _round_extremes(picture: Grey, side: int, wider: _Wider[Grey], nothing: float) -> Grey:
    height, width = picture.shape
    padded = np.pad(picture, (side // 2, (side - 1) // 2), constant_values=nothing)
    result = picture
    for y, x in _disc(side):
        result = wider(result, padded[y : y + height, x : x + width])
    return result


@lru_cache(maxsize=64)
def _disc(side: int) -> list[tuple[int, int]]:
    """The pixels of a disc in a square of some side, row and column; its middle is at side // 2."""
    radius = side // 2
    places = []
    for row in range(side):
        above = row - radius
        if abs(above) <= radius:
            reach = round(math.sqrt(radius**2 - above**2))
            places += [(row, column) for column in range(max(radius - reach, 0), min(radius + reach + 1, side))]
    return places
