"""Pictures that show no digit, drawn by a procedure: what the network learns to give little evidence to.

D. Hendrycks, M. Mazeika and T. Dietterich, "Deep anomaly detection with outlier exposure" (arXiv:1812.04606), showed
that a network that met some sorts of outliers tells others too. No data set but MNIST is used: these are strokes,
shapes, noise, and MNIST's own digits taken apart.
"""

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.corruption import Grey, clouds, smooth_field
from training.data import Digits

NonDigit = Callable[["Sampler", Generator], Grey]
"""Digits to take apart, and what draws → a picture, float32 (height, width), bright on black, 0–255."""

_CANVAS = 112  # pixels along each side of what is drawn
_SIDE = 28
_ROWS, _COLUMNS = (14, 35, 56, 77, 98), (28, 56, 84)  # of the lattice that signs are drawn on, in pixels of the canvas
_TURNABLE = (2, 3, 4, 5, 7)  # no digits when they lie on their side

Curve = NDArray[np.float64]


class Sampler:
    """Draws single digits of a set, any or those of some labels."""

    def __init__(self, digits: Digits) -> None:
        self._images = digits.images[:, 0]
        self._places = [np.flatnonzero(digits.labels == label) for label in range(10)]

    def any(self, generator: Generator) -> Grey:
        """Float32 (28, 28)."""
        image: Grey = self._images[generator.integers(len(self._images))].astype(np.float32)
        return image

    def of(self, labels: tuple[int, ...], generator: Generator) -> Grey:
        """Float32 (28, 28), of one of the labels, each as likely as the others; any digit where the set has none."""
        places = self._places[labels[generator.integers(len(labels))]]
        if not len(places):
            return self.any(generator)
        image: Grey = self._images[places[generator.integers(len(places))]].astype(np.float32)
        return image


def _bezier(points: Curve) -> Curve:
    """24 points, float64 (24, 2), along the Bézier curve of control points (n, 2)."""
    t, degree = np.linspace(0, 1, 24)[:, None], len(points) - 1
    return np.asarray(
        sum(math.comb(degree, i) * (1 - t) ** (degree - i) * t**i * point for i, point in enumerate(points))
    )


def _inked(curves: list[Curve], generator: Generator) -> Grey:
    canvas = np.zeros((_CANVAS, _CANVAS), np.uint8)
    lines = [np.rint(curve).astype(np.int32) for curve in curves]
    cv2.polylines(canvas, lines, False, 255, round(generator.uniform(5, 14)), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.2), np.float32)


def _scribble(_: Sampler, generator: Generator) -> Grey:
    """Two to four curves, half of them from somewhere on the one before."""
    curves: list[Curve] = []
    for _number in range(generator.integers(2, 5)):
        points = generator.uniform(12, 100, (generator.integers(3, 6), 2))
        if curves and generator.random() < 0.5:
            points[0] = curves[-1][generator.integers(len(curves[-1]))]
        curves.append(_bezier(points))
    return _inked(curves, generator)


def _sign(_: Sampler, generator: Generator) -> Grey:
    """Three to six straight or bent strokes between points of a lattice, as the letters of most scripts are made of."""
    lattice = np.array([(x, y) for y in _ROWS for x in _COLUMNS], np.float64)
    curves: list[Curve] = []
    start = int(generator.integers(len(lattice)))
    wanted = int(generator.integers(3, 7))
    while len(curves) < wanted:
        end = int(generator.integers(len(lattice)))
        if end == start:
            continue
        points = lattice[[start, end]]
        if generator.random() < 0.3:
            along = points[1] - points[0]
            bend = np.array([-along[1], along[0]]) * generator.uniform(-0.6, 0.6)
            points = np.stack((points[0], points.mean(axis=0) + bend, points[1]))
        curves.append(_bezier(points) + generator.normal(0, 2.5, 2))
        start = end if generator.random() < 0.55 else int(generator.integers(len(lattice)))
    return _inked(curves, generator)


def _glyph(_: Sampler, generator: Generator) -> Grey:
    """Two to four stems, bars, diagonals, arches, bowls and rings, in the upper or lower half or as high as the line.

    A few of them do look like a digit. Real ones are so many more that the network learns to give them less, not none.
    """
    curves: list[Curve] = []
    for _number in range(generator.integers(2, 5)):
        high = generator.random() < 0.4
        top = _ROWS[0] if high or generator.random() < 0.5 else _ROWS[2]
        bottom = _ROWS[4] if high or top == _ROWS[2] else _ROWS[2]
        left, right = sorted(generator.choice(_COLUMNS, 2, replace=False).tolist())
        kind = generator.integers(6)
        if kind < 2:
            x = generator.choice(_COLUMNS)
            ends = ((x, top), (x, bottom)) if kind else ((left, y := generator.choice(_ROWS)), (right, y))
        elif kind == 2:
            ends = ((left, top), (right, bottom)) if generator.random() < 0.5 else ((right, top), (left, bottom))
        else:
            start, sweep = generator.integers(4) * math.pi / 2, math.pi if kind < 5 else 2 * math.pi
            angles = np.linspace(start, start + sweep, 24)
            centre, reach = ((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2)
            curves.append(np.stack((np.cos(angles), np.sin(angles)), axis=1) * reach + centre)
            continue
        curves.append(np.array(ends, np.float64))
    return _inked([curve + generator.normal(0, 2.5, 2) for curve in curves], generator)


def _shape(_: Sampler, generator: Generator) -> Grey:
    """One to three filled shapes, plain, shaded, striped or symmetrical, as things are."""
    canvas = np.zeros((_CANVAS, _CANVAS), np.float32)
    middle = _CANVAS / 2
    for _number in range(generator.integers(1, 4)):
        level = generator.uniform(60, 255)
        if generator.random() < 0.4:
            centre, axes = generator.integers(35, 77, 2).tolist(), generator.integers(10, 45, 2).tolist()
            cv2.ellipse(canvas, centre, axes, generator.uniform(0, 180), 0, 360, level, -1, cv2.LINE_AA)
        else:
            corners = int(generator.integers(3, 9))
            angles, reach = np.sort(generator.uniform(0, 2 * math.pi, corners)), generator.uniform(15, 52, corners)
            points = np.stack((middle + reach * np.cos(angles), middle + reach * np.sin(angles)), axis=1)
            cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], level, cv2.LINE_AA)
    if generator.random() < 0.3:
        canvas = np.maximum(canvas, canvas[:, ::-1])
    if generator.random() < 0.6:
        canvas *= 1 - generator.uniform(0.1, 0.8) * clouds(_CANVAS, generator)
    if generator.random() < 0.25:
        across = np.add.outer(np.arange(_CANVAS), np.arange(_CANVAS) * generator.integers(2))
        canvas *= 0.4 + 0.6 * (across // generator.integers(4, 14) % 2)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1), np.float32)


def _noise(_: Sampler, generator: Generator) -> Grey:
    """White, coloured, thresholded or sparse noise."""
    shape = (_SIDE, _SIDE)
    kind = generator.integers(6)
    noise: NDArray[np.floating]
    if kind == 0:
        noise = generator.uniform(0, 255, shape)
    elif kind == 1:
        noise = generator.normal(generator.uniform(0, 200), generator.uniform(10, 90), shape)
    elif kind == 2:
        noise = clouds(_SIDE, generator) * 255
    elif kind == 3:
        blurred = cv2.GaussianBlur(generator.standard_normal(shape, np.float32), (0, 0), generator.uniform(0.7, 3))
        noise = (blurred > generator.uniform(-0.1, 0.4)) * generator.uniform(100, 255)
    elif kind == 4:
        noise = (generator.random(shape) < generator.uniform(0.02, 0.5)) * generator.uniform(100, 255)
    else:
        field = smooth_field(_SIDE, int(generator.integers(3, 9)), generator)
        noise = (field - 0.5) * generator.uniform(255, 1530) + 128
    return np.clip(noise, 0, 255).astype(np.float32)


def _shuffled(sampler: Sampler, generator: Generator) -> Grey:
    """The quarters of a digit, at least three of them in another's place."""
    digit, half = sampler.any(generator), _SIDE // 2
    quarters = [digit[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    order = np.arange(4)
    while (order != np.arange(4)).sum() < 3:
        order = generator.permutation(4)
    a, b, c, d = (quarters[place] for place in order)
    return np.block([[a, b], [c, d]])


def _overlaid(sampler: Sampler, generator: Generator) -> Grey:
    """A digit across another one that lies on its side."""
    lying = np.rot90(sampler.of(_TURNABLE, generator), generator.choice((1, 3)))
    lying = np.roll(lying, generator.integers(-5, 6), axis=0)
    return np.maximum(np.roll(sampler.any(generator), generator.integers(-5, 6), axis=1), lying)


def _turned(sampler: Sampler, generator: Generator) -> Grey:
    """A digit that lies on its side."""
    return np.ascontiguousarray(np.rot90(sampler.of(_TURNABLE, generator), generator.choice((1, 3))))


def _several(sampler: Sampler, generator: Generator) -> Grey:
    """Two or three digits side by side, near or touching."""
    count, gap = 2 + int(generator.random() < 0.3), int(generator.integers(-6, 3))
    row = np.zeros((_SIDE, _SIDE * count), np.float32)
    left = 0
    for _number in range(count):
        digit = sampler.any(generator)
        columns = np.flatnonzero(digit.max(axis=0) > 40)
        digit = np.roll(digit[:, columns[0] : columns[-1] + 1], generator.integers(-3, 4), axis=0)
        place = row[:, left : left + digit.shape[1]]
        np.maximum(place, digit, out=place)
        left = max(0, left + digit.shape[1] + gap)
    return row


NON_DIGITS: Mapping[str, tuple[NonDigit, float]] = {
    "scribble": (_scribble, 0.16),
    "sign": (_sign, 0.2),
    "glyph": (_glyph, 0.16),
    "shape": (_shape, 0.12),
    "noise": (_noise, 0.1),
    "shuffled": (_shuffled, 0.07),
    "overlaid": (_overlaid, 0.06),
    "turned": (_turned, 0.07),
    "several": (_several, 0.06),
}
"""The sorts of non-digits by name, each with its share of those that train."""
