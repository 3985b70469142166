"""What happens to a digit on its way to the service: noise, blur, paper, light, lines across it, parts missing.

The families are those that D. Hendrycks and T. Dietterich, "Benchmarking neural network robustness to common
corruptions and perturbations" (arXiv:1903.12261), and N. Mu and J. Gilmer, "MNIST-C" (arXiv:1906.02337), made common;
what draws them, and how strongly, is our own. Geometry is left to `training.augment`.
"""

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Corruption = Callable[[Grey, Generator], Grey]
"""A digit, float32 (28, 28), bright ink on black, 0–255 → a picture of it, float32 (height, width), 0–255."""

_SIDE = 28
_FINE = 4  # lines are drawn so many times as large, and averaged


def smooth_field(side: int, cells: int, generator: Generator) -> Grey:
    """A random field, float32 (side, side), from 0 to 1, that changes over about side / cells pixels."""
    field = cv2.resize(generator.random((cells, cells), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return _spread(np.asarray(field))


def clouds(side: int, generator: Generator) -> Grey:
    """A random field, float32 (side, side), from 0 to 1, with structure of every size, as clouds and fog have it."""
    field = sum(smooth_field(side, 2**octave, generator) * 0.6**octave for octave in range(1, 5))
    return _spread(np.asarray(field))


def _spread(field: NDArray[np.floating]) -> Grey:
    least, most = float(field.min()), float(field.max())
    spread: Grey = np.asarray((field - least) / (most - least), np.float32)
    return spread


def _grey(values: NDArray[np.floating]) -> Grey:
    return np.asarray(np.clip(values, 0, 255), np.float32)


def _grain(digit: Grey, generator: Generator) -> Grey:
    return _grey(digit + generator.normal(0, generator.uniform(15, 70), digit.shape))


def _shot(digit: Grey, generator: Generator) -> Grey:
    photons = generator.uniform(3, 25)  # for white
    return _grey(generator.poisson(digit / 255 * photons) * (255 / photons))


def _impulse(digit: Grey, generator: Generator) -> Grey:
    share, chance = generator.uniform(0.02, 0.2), generator.random(digit.shape)
    return _grey(np.where(chance < share / 2, 0, np.where(chance < share, 255, digit)))


def _defocus(digit: Grey, generator: Generator) -> Grey:
    return _grey(cv2.GaussianBlur(digit, (0, 0), generator.uniform(0.6, 1.7)))


def _motion(digit: Grey, generator: Generator) -> Grey:
    length, angle = int(generator.integers(3, 10)), generator.uniform(0, math.pi)
    kernel = np.zeros((length, length), np.float32)
    reach = (length - 1) / 2
    along = np.linspace(-reach, reach, 4 * length)
    places = np.rint(reach + along * math.sin(angle)).astype(int), np.rint(reach + along * math.cos(angle)).astype(int)
    np.add.at(kernel, places, 1 / along.size)
    return _grey(cv2.filter2D(digit, -1, kernel))


def _frosted(digit: Grey, generator: Generator) -> Grey:
    reach = generator.uniform(0.75, 2)
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)
    y += generator.uniform(-reach, reach, y.shape).astype(np.float32)
    x += generator.uniform(-reach, reach, x.shape).astype(np.float32)
    scattered = cv2.remap(cv2.GaussianBlur(digit, (0, 0), 0.5), x, y, cv2.INTER_LINEAR)
    return _grey(cv2.GaussianBlur(scattered, (0, 0), generator.uniform(0.3, 0.7)))


def _bright(digit: Grey, generator: Generator) -> Grey:
    return _grey(digit + generator.uniform(30, 180))


def _faint(digit: Grey, generator: Generator) -> Grey:
    return _grey(generator.uniform(0, 150) + digit * generator.uniform(0.12, 0.4))


def _fog(digit: Grey, generator: Generator) -> Grey:
    thickness = generator.uniform(0.3, 0.75)
    return _grey(digit * (1 - 0.6 * thickness) + clouds(_SIDE, generator) * (255 * thickness))


def _stripe(digit: Grey, generator: Generator) -> Grey:
    picture = 255 - digit if generator.random() < 0.7 else digit.copy()
    width = int(generator.integers(2, 17))
    first = int(generator.integers(_SIDE - width))
    band = picture if generator.random() < 0.5 else picture.T
    band[first : first + width] = 255 - band[first : first + width]
    return picture


def _spatter(digit: Grey, generator: Generator) -> Grey:
    field = cv2.GaussianBlur(generator.standard_normal(digit.shape, np.float32), (0, 0), generator.uniform(0.7, 1.6))
    drops = np.clip(3 * (field / field.std() - generator.uniform(1.6, 2.6)), 0, 1)
    if generator.random() < 0.7:
        return _grey(np.maximum(digit, drops * generator.uniform(120, 255)))
    return _grey(digit * (1 - drops))


def _ends(generator: Generator) -> NDArray[np.float64]:
    """Two ends of a line, float64 (2, 2) of x and y in pixels, half of the time from border to border."""
    ends = generator.uniform(0, _SIDE, (2, 2))
    if generator.random() < 0.5:
        ends[:, 0] = 0, _SIDE
    return ends


def _drawn(digit: Grey, points: NDArray[np.float64], dots: bool, generator: Generator) -> Grey:
    canvas = np.zeros((_SIDE * _FINE, _SIDE * _FINE), np.uint8)
    places, width = np.rint(points * _FINE).astype(np.int32), generator.uniform(0.6, 1.3) * _FINE
    if dots:
        for x, y in places.tolist():
            cv2.circle(canvas, (x, y), round(width / 2), 255, -1)
    else:
        cv2.polylines(canvas, [places], False, 255, round(width))
    line = cv2.resize(canvas, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _grey(np.maximum(digit, line * generator.uniform(0.7, 1)))


def _dotted(digit: Grey, generator: Generator) -> Grey:
    start, end = _ends(generator)
    count = max(2, int(np.hypot(*(end - start)) / generator.uniform(2, 4)))
    return _drawn(digit, start + np.linspace(0, 1, count)[:, None] * (end - start), True, generator)


def _zigzag(digit: Grey, generator: Generator) -> Grey:
    start, end = _ends(generator)
    along = end - start
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1)
    turns = np.arange(generator.integers(3, 10))
    points = start + turns[:, None] / turns[-1] * along
    points += (turns % 2 * 2 - 1)[:, None] * across * generator.uniform(0.8, 2.5)
    return _drawn(digit, points, False, generator)


def _outline(digit: Grey, generator: Generator) -> Grey:
    pixels = digit.astype(np.uint8)
    if generator.random() < 0.4:
        side = int(generator.integers(2, 4))
        return _grey(cv2.morphologyEx(pixels, cv2.MORPH_GRADIENT, np.ones((side, side), np.uint8)))
    softened = cv2.GaussianBlur(pixels, (0, 0), generator.uniform(0.3, 1.2))
    return _grey(cv2.Canny(softened, generator.uniform(30, 120), generator.uniform(120, 220)))


def _hidden(digit: Grey, generator: Generator) -> Grey:
    picture, inked = digit.copy(), np.argwhere(digit > 100)
    y, x = inked[generator.integers(len(inked))].tolist() if len(inked) else (_SIDE // 2, _SIDE // 2)
    height, width = generator.integers(2, 8, 2).tolist()
    picture[max(0, y - height // 2) : y + (height + 1) // 2, max(0, x - width // 2) : x + (width + 1) // 2] = 0
    return picture


def _coarse(digit: Grey, generator: Generator) -> Grey:
    side = int(generator.integers(8, 16))
    small = cv2.resize(digit, (side, side), interpolation=cv2.INTER_AREA)
    way = cv2.INTER_NEAREST if generator.random() < 0.5 else cv2.INTER_LINEAR
    return _grey(cv2.resize(small, (_SIDE, _SIDE), interpolation=way))


def _as_jpeg(picture: Grey, worst: int, best: int, generator: Generator) -> Grey:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(worst, best))]
    encoded = cv2.imencode(".jpg", picture.astype(np.uint8), quality)[1]
    return _grey(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.float32))


def _jpeg(digit: Grey, generator: Generator) -> Grey:
    return _as_jpeg(digit if generator.random() < 0.5 else 255 - digit, 5, 50, generator)


def _paper(digit: Grey, generator: Generator) -> Grey:
    """A photograph of the digit, 2 to 6 times as large, written by a thin or thick pen on lit, ruled, grainy paper."""
    factor = int(generator.integers(2, 7))
    large = _SIDE * factor
    side = int(large * generator.uniform(1, 1.5))
    pen = cv2.GaussianBlur(
        cv2.resize(digit, (large, large), interpolation=cv2.INTER_CUBIC), (0, 0), factor * generator.uniform(0.2, 0.5)
    )
    top, left = generator.integers(side - large + 1, size=2).tolist()
    ink = np.zeros((side, side), np.float32)
    ink[top : top + large, left : left + large] = np.clip(
        (pen - generator.uniform(40, 140)) * generator.uniform(1.5, 5) / 255, 0, 1
    )
    ground = generator.uniform(130, 245)
    paper = ground * (1 - generator.uniform(0, 0.35) * smooth_field(side, int(generator.integers(2, 4)), generator))
    fibres = generator.standard_normal((side, side), np.float32) * generator.uniform(1, 10)
    paper += cv2.GaussianBlur(fibres, (0, 0), generator.uniform(0.3, 1.2))
    if generator.random() < 0.4:
        apart, depth = int(factor * generator.uniform(7, 14)), generator.uniform(8, 45)
        first = int(generator.integers(apart))
        paper[first::apart] -= depth
        if generator.random() < 0.5:
            paper[:, first::apart] -= depth
    photograph = paper * (1 - ink) + np.minimum(paper, generator.uniform(20, 0.75 * ground)) * ink
    photograph = _grey(photograph + generator.normal(0, generator.uniform(0, 6), photograph.shape))
    return _as_jpeg(photograph, 15, 80, generator) if generator.random() < 0.5 else photograph


CORRUPTIONS: Mapping[str, Corruption] = {
    "grain": _grain,
    "shot": _shot,
    "impulse": _impulse,
    "defocus": _defocus,
    "motion": _motion,
    "frosted": _frosted,
    "bright": _bright,
    "faint": _faint,
    "fog": _fog,
    "stripe": _stripe,
    "spatter": _spatter,
    "dotted": _dotted,
    "zigzag": _zigzag,
    "outline": _outline,
    "hidden": _hidden,
    "coarse": _coarse,
    "jpeg": _jpeg,
    "paper": _paper,
}
"""The kinds of corruption by name."""
