"""Grey levels → ink: polarity, and the paper's unevenness, grain and lines taken away where it has any."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.raster import Grey, Mask, blurred, dilated, enlarged, eroded, labelled, median, parts_of, shrunk, softened

Ink = NDArray[np.float32]
"""How much ink each pixel has, float32 (height, width), 0–255: bright on a ground of 0."""
Parts = NDArray[np.int32]
"""Connected pieces of strong ink, (n, 5): left, top, width, height and area of each, in pixels."""


class Drawn(NamedTuple):
    """What is drawn on a picture; `parts` is empty where it is all one piece, as of most digits."""

    ink: Ink
    parts: Parts


_WHOLE: Parts = np.zeros((0, 5), np.int32)
FAINTEST = 12  # grey levels: with less contrast than that, a picture is blank
STRONG = 0.1 * 255  # fainter ink is no part of the shape: JPEG leaves such traces around strokes
_CALM = 0.025  # of the contrast: what differs by less from the ground is ground
_EVEN = 0.5  # the share of the border that is ground where the paper is even
_LINES = 0.55  # of the contrast: lines on the paper are weaker, ink is stronger
_WORKING = 640  # pixels along the longest side of uneven paper: averaging over areas is what removes grain best
_COARSE = 56  # pixels along the longest side of what the paper's light is estimated on
_STROKE = 0.3  # of the longest side: no stroke is as wide, so what is wider is light on the paper
_RING = 0.06  # of the longest side: how wide a border is looked at for what is on the paper besides the ink
_SPECK = 0.06  # of the largest connected ink's area: what is smaller, and apart, is a speck where there are many
_SHADE = 0.12  # of the light's range: fainter ink is told from what is left of a shadow by nothing
_SCATTERED = 0.25, 20  # less of all strong ink than that in the largest of more pieces than that: noise alone
_DUST = 0.01  # of the largest connected ink's area: what is smaller, and apart, is never a part of a digit
_MANY = 3  # specks: fewer may well be parts of the digit
_SMALL = 64  # pixels along the longest side: up to here a single pixel can cover a stroke


def drawn_on(grey: Grey) -> Drawn | None:
    """The ink on a picture of either polarity, or None if it has no contrast.

    The border tells the ground, and the stronger difference from it is ink. The result is smaller than the picture,
    in the same proportions, where that is large and its paper uneven.
    """
    border = grey.take(_border(*grey.shape))
    border.sort()
    ground = (border.item((len(border) - 1) // 2) + border.item(len(border) // 2)) / 2  # the median
    # Finding where the least is takes a third of the time of finding it.
    least, most = grey.item(grey.argmin()), grey.item(grey.argmax())
    darker, brighter = ground - least, most - ground
    contrast = max(darker, brighter)
    if contrast < FAINTEST:
        return None
    if border.item(0) < border.item(-1) and _is_uneven(border, ground, contrast):
        return _from_uneven(grey)
    other = min(darker, brighter)
    if other > 0.3 * contrast:
        return _from_two_sides(grey, ground)
    ink = np.float32(ground) - grey if darker > brighter else grey - np.float32(ground)
    ink *= np.float32(255 / contrast)
    return _drawn(np.maximum(ink, 0, out=ink) if other else ink)


@lru_cache(maxsize=64)
def _border(height: int, width: int) -> NDArray[np.intp]:
    """The flat places of a picture's outermost pixels."""
    row, column = np.arange(width), np.arange(1, height - 1) * width
    return np.concatenate((row, row + (height - 1) * width, column, column + width - 1))


def _is_uneven(border: Grey, ground: float, contrast: float) -> bool:
    """Whether what the sorted border shows besides an even ground is more than ink that touches it: grain, faint lines.

    Half of a clean border is the ground, even where ink touches it; then its extremes are ink, not noise.
    """
    calm = int(np.searchsorted(border, ground + _CALM * contrast, "right"))
    calm -= int(np.searchsorted(border, ground - _CALM * contrast))
    if calm == len(border):
        return False
    strong = int(np.count_nonzero(np.abs(border - ground) > _LINES * contrast))
    weak = len(border) - calm - strong
    return calm < _EVEN * len(border) or weak > max(2, strong)


def _from_two_sides(grey: Grey, ground: float) -> Drawn | None:
    """Ink on an even ground beside which there is something of the other polarity: pepper, a shine, a frame."""
    grey = _without_outliers(grey)
    difference = grey - np.float32(ground)
    darker, brighter = np.maximum(-difference, 0), np.maximum(difference, 0)
    ink = darker if np.linalg.norm(darker) > np.linalg.norm(brighter) else brighter
    top = _top(ink)
    if top < FAINTEST:
        return None
    return _drawn(np.minimum(ink * np.float32(255 / top), 255))


def _from_uneven(grey: Grey) -> Drawn | None:
    """Ink on uneven paper, a photograph's or a noisy picture's."""
    height, width = grey.shape
    factor = _WORKING / max(height, width)
    if factor < 1:
        grey = shrunk(grey, max(1, round(height * factor)), max(1, round(width * factor)))
        height, width = grey.shape
    grey = _without_outliers(grey)
    factor = min(1.0, _COARSE / max(height, width))
    coarse = shrunk(grey, max(1, round(height * factor)), max(1, round(width * factor))) if factor < 1 else grey
    light, sign = _light(coarse)
    ink = grey - (enlarged(light, height, width, cubic=False) if factor < 1 else light)
    ink *= np.float32(sign)
    top = _top(ink)
    floor = _floor(ink, top)
    if top - floor < FAINTEST + _SHADE * float(np.ptp(light)):
        return None
    ink -= np.float32(floor)
    ink *= np.float32(255 / (top - floor))
    return _drawn(np.clip(ink, 0, 255, out=ink))


def _light(coarse: Grey) -> tuple[Grey, int]:
    """The paper's brightness at each pixel, and the ink's sign: 1 where it is brighter.

    A quadratic surface through the border follows shading and vignettes, and tells the polarity. What remains and is
    wider than any stroke, such as the edge of a shadow, is found by morphological opening.
    """
    height, width = coarse.shape
    basis, fit = _surface(height, width)
    values = coarse.reshape(-1, 1)
    light = basis @ (fit @ values[_ring(height, width)])
    rest = values - light
    # Once more through all that looks like paper: ink that touches the border has bent the surface.
    distance = np.abs(rest)
    spread = max(float(distance.mean(dtype=np.float64)), 1.0) * 1.5
    weighted = basis * (distance < spread)
    factors = np.linalg.solve(weighted.T @ basis + _RIDGE, weighted.T @ values)
    light = basis @ factors
    rest = (values - light).reshape(height, width)
    sign = 1 if (rest * rest * rest).sum(dtype=np.float64) > 0 else -1
    rest *= np.float32(sign)
    side = 2 * round(_STROKE * max(height, width) / 2) + 1
    wide = blurred(dilated(eroded(softened(rest), side), side), side // 2 | 1)
    return light.reshape(height, width) + np.float32(sign) * wide, sign


_RIDGE = np.eye(6, dtype=np.float32) * 1e-2


@lru_cache(maxsize=64)
def _surface(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Quadratic surfaces over a picture (pixels, 6), and what finds the coefficients (6, border) from its border."""
    y, x = (
        np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].reshape(2, -1)
        if min(height, width) > 1
        else (np.zeros((2, height * width)))
    )
    basis = np.stack((np.ones_like(x), x, y, x * y, x * x, y * y), axis=1).astype(np.float32)
    inverse = np.linalg.pinv(basis[_ring(height, width)].astype(np.float64), rcond=1e-6)
    return basis, inverse.astype(np.float32)


@lru_cache(maxsize=64)
def _ring(height: int, width: int) -> NDArray[np.intp]:
    """The flat places of the pixels along the border, as wide as `_RING` says."""
    wide = max(1, round(_RING * max(height, width)))
    inside = np.zeros((height, width), bool)
    inside[wide : height - wide, wide : width - wide] = True
    return np.flatnonzero(~inside)


def _top(ink: Ink) -> float:
    """The level of strong ink: of strokes that cover a five-hundredth of the picture, and of no single pixel."""
    values = ink.ravel()
    count = max(4, len(values) // 500)
    if len(values) > 4 * _COARSE**2:
        values, count = values[::7], max(4, count // 7)
    return float(np.partition(values, -count)[-count:].mean())


def _floor(ink: Ink, top: float) -> float:
    """The level up to which it is paper: its grain, and the lines that are printed on it.

    Those reach the border and the ink does so seldom, so the border tells how strong they are.
    """
    height, width = ink.shape
    border = ink.ravel()[_ring(height, width)]
    border = np.sort(border[:: max(1, len(border) // 2000)])
    # A quarter of the border is as far above its median as normal noise is by 0.67 of its deviation.
    noise = 1.5 * float(border[3 * len(border) // 4] - border[len(border) // 2])
    least = max(3 * noise, 0.06 * top)
    # Thin lines far apart cover no more than a few thousandths of the border, which on grainy paper its grain has too.
    calm = 3 * noise < least
    for share in (0.998, 0.99, 0.95, 0.9, 0.8)[0 if calm else 1 :]:
        level = 1.1 * float(border[int(share * (len(border) - 1))])
        if level < _LINES * top:
            return min(max(level, least), 0.6 * top)
    return min(least, 0.5 * top)


def _without_outliers(grey: Grey) -> Grey:
    """The picture without pixels that stand out from all around them, such as salt and pepper.

    In a small picture a stroke may be one pixel wide, so there a pixel must have none like it beside it.
    """
    middle = median(grey)
    difference = np.abs(grey - middle)
    far = difference > 0.3 * float(np.ptp(grey))
    if not far.any():
        return grey
    if max(grey.shape) <= _SMALL:
        y, x = np.nonzero(far)
        padded = np.pad(grey, 1, mode="reflect")
        row = padded.shape[1]
        places = (y + 1) * row + x + 1
        around = padded.ravel()[places[:, None] + np.array((-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1))]
        # Neighbours nearer to the pixel than half of its distance from the median are like it.
        like = np.abs(around - grey[y, x][:, None]) < 0.5 * difference[y, x][:, None]
        alone = ~like.any(axis=1)
        clean = grey.copy()
        clean[y[alone], x[alone]] = middle[y[alone], x[alone]]
        return clean
    return np.where(far, middle, grey)


def _drawn(ink: Ink) -> Drawn | None:
    """The ink without specks, where there are so many, or such small ones, that they are no parts of a digit."""
    labels, count = labelled(ink > STRONG)
    if count < 2:
        return Drawn(ink, _WHOLE)
    parts = parts_of(labels)
    area = parts[:, 4]
    largest = int(area.max())
    if len(parts) >= _SCATTERED[1] and largest < _SCATTERED[0] * int(area.sum()):
        return None
    small = area < _SPECK * largest
    if np.count_nonzero(small) < _MANY:
        small = area < _DUST * largest
        if not small.any():
            return Drawn(ink, parts)
    # A speck goes with its faint fringe; that of what stays is kept.
    speck: Mask = np.concatenate(((False,), small))[labels]
    stays: Mask = np.concatenate(((False,), ~small))[labels]
    gone = speck | (dilated(speck, 3) & ~dilated(stays, 3))
    return Drawn(np.where(gone, np.float32(0), ink), parts[~small])
