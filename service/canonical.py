"""Ink → the digit as MNIST would hold it: box, stroke, contrast, place.

Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits": size-normalised into a 20×20 box with its
aspect ratio kept, then placed in 28×28 by its centre of mass.
"""

import numpy as np
from numpy.typing import NDArray

from service.ink import STRONG, Ink
from service.raster import dilated, dilated_round, enlarged, eroded, eroded_round, shrunk

Digit = NDArray[np.uint8]

SIDE = 28  # pixels along each side of what the network sees
_BOX = 20  # pixels, the longest side of the ink
_FINE = 120  # pixels along the longest side of the box at which strokes are widened and narrowed
# Pixels of the result. Of MNIST's digits, by the measure of `_strokes`, the median has strokes 1.9 wide, and a
# hundredth has strokes below 1.1 or above 3.9. Nothing changes within that.
_THIN, _FAT = 0.85, 3.9
_THICKENING = 2.2  # so that a hair is made 1.8 wide, and what is nearly wide enough changes little
_TIE = 1e-5  # pixels
_PALE = 206  # grey levels: in all but a hundredth of MNIST's digits, a quarter of the ink's pixels is whiter


def placed(ink: Ink) -> Digit:
    """The digit of some ink, uint8 (28, 28)."""
    boxed = _boxed(ink)
    height, width = boxed.shape
    (mass, across), (along, _) = (_MOMENTS[:, :height] @ boxed.astype(np.float64) @ _MOMENTS[:, :width].T).tolist()
    centre_y, centre_x = along / mass, across / mass
    # The faint fringe may fall outside, strong ink never does: the canvas is as much larger as the fringe is wide.
    fringe = max((max(height, width) - _BOX) // 2, 0)
    size = SIDE + 2 * fringe
    canvas = np.zeros((size, size), np.uint8)
    # The training set's centres of mass are spread evenly from 13.5 to 14.5, pixels counted from 0: so the pixel that
    # the centre is nearest to became number 14. In the middle between two, of symmetric ink, rounding is not to choose.
    top = min(max(round(size / 2 - centre_y - _TIE), 0), size - height)
    left = min(max(round(size / 2 - centre_x - _TIE), 0), size - width)
    canvas[top : top + height, left : left + width] = np.rint(boxed)
    return canvas[fringe : size - fringe, fringe : size - fringe]


# What rows are multiplied by to be summed, and to be summed by their places: half the time of NumPy's sums.
_MOMENTS = np.stack((np.ones(4 * SIDE), np.arange(4 * SIDE, dtype=np.float64)))


def _boxed(ink: Ink) -> Ink:
    """The ink scaled so that its bounding box has 20 pixels along its longest side, its strongest value 255 again.

    The box is drawn around strong ink; its faint fringe comes along, about one pixel of the result wide, and none where
    the ink is so small that a pixel of it becomes two or more.
    """
    left, top, width, height = _box(ink)
    if max(width, height) > 2 * _BOX:
        ink = _with_strokes(_cut(ink, left - 1, top - 1, width + 2, height + 2))
        left, top, width, height = _box(ink)
    scale = _BOX / max(width, height)
    fringe = round(1 / scale)
    ink = _cut(ink, left - fringe, top - fringe, width + 2 * fringe, height + 2 * fringe)
    height, width = ink.shape
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if size == ink.shape:
        return ink
    # Averaging over areas is what makes small grey digits of large black ones; enlarging needs interpolation instead.
    resized = shrunk(ink, *size) if scale < 1 else enlarged(ink, *size, cubic=True)
    resized *= np.float32(255 / _white(resized))
    return np.clip(resized, 0, 255, out=resized)


def _box(ink: Ink) -> tuple[int, int, int, int]:
    """The box around strong ink: left, top, width, height."""
    strong = ink > STRONG
    # Bytes are searched in a fraction of the time in which NumPy begins.
    pixels, columns = strong.tobytes(), np.logical_or.reduce(strong).tobytes()
    top, left, width = pixels.find(1) // len(columns), columns.find(1), len(columns)
    return left, top, columns.rfind(1) - left + 1, pixels.rfind(1) // width - top + 1


def _white(ink: Ink) -> float:
    """The level that is to become white: the strongest, unless most of the ink would be paler than MNIST's is."""
    values = ink[ink > STRONG]
    most = float(ink.max())
    if not len(values):
        return most
    place = int(0.75 * (len(values) - 1))
    return min(most, max(float(np.partition(values, place)[place]) * (255 / _PALE), 0.5 * most))


def _with_strokes(ink: Ink) -> Ink:
    """Large ink whose strokes are neither thinner than MNIST's thinnest, nor so fat that they fill the gaps between.

    Where they have to be widened or narrowed, it is reduced to about six times what it will be, which costs less.
    """
    height, width = ink.shape
    wide, narrow_gaps = _strokes(ink)
    becomes = wide * _BOX / max(height, width)
    if becomes < _THIN:
        change = (_THIN - becomes) * _THICKENING
    elif becomes > _FAT and narrow_gaps:
        change = max(_FAT - becomes, -1.0)
    else:
        return ink
    factor = _FINE / max(height, width)
    if factor < 1:
        # A stroke that is thinner than a pixel of the smaller scale is widened first, lest it become faint.
        side = round(1 / factor - wide) + 1
        if side > 1:
            ink = dilated(_cut(ink, -side, -side, width + 2 * side, height + 2 * side), side)
            change -= (side - 1) * _BOX / max(height, width)
            height, width = ink.shape
        ink = shrunk(ink, max(1, round(height * factor)), max(1, round(width * factor)))
        height, width = ink.shape
    side = round(abs(change) * max(height, width) / _BOX) + 1
    if side < 2:
        return ink
    if change < 0:
        return eroded_round(ink, side)
    return dilated_round(_cut(ink, -side, -side, width + 2 * side, height + 2 * side), side)


def _strokes(ink: Ink) -> tuple[float, bool]:
    """About how many pixels the strokes are wide, and whether gaps between them are much narrower than they.

    A long stroke has half of its outline times its width as area.
    """
    strong = ink > 127.5
    area = int(np.count_nonzero(strong))
    outline = area - int(np.count_nonzero(eroded(strong, 3)))
    wide = 2 * area / max(1, outline)
    if wide * _BOX / max(ink.shape) <= _FAT:
        return wide, False
    side = round(1.2 * max(ink.shape) / _BOX)
    closed = eroded(dilated(np.pad(strong, side), side), side)
    return wide, int(np.count_nonzero(closed)) > 1.01 * area


def _cut(ink: Ink, left: int, top: int, width: int, height: int) -> Ink:
    """The part of the ink in a box; what of it lies outside the picture has none."""
    whole_height, whole_width = ink.shape
    right, bottom = left + width, top + height
    if left >= 0 and top >= 0 and right <= whole_width and bottom <= whole_height:
        return ink[top:bottom, left:right]
    part = np.zeros((height, width), np.float32)
    inside = ink[max(top, 0) : bottom, max(left, 0) : right]
    y, x = max(-top, 0), max(-left, 0)
    part[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return part
