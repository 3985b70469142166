"""Kernels of the operators: the named ones of every lecture, and one's own numbers."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedError

Kernel = NDArray[np.float32]

LARGEST = 15  # cells along each side
HEAVIEST = 1_000_000  # a weight's magnitude: sums of 15×15 such products are far from float32's end
_LONGEST = 8192  # characters: 15×15 numbers with all the digits that float64 has are fewer
_DIGITS = 64  # characters of a number
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def _identity(size: int) -> Kernel:
    kernel = np.zeros((size, size), np.float32)
    kernel[size // 2, size // 2] = 1
    return kernel


def _box(size: int) -> Kernel:
    return np.full((size, size), 1 / size**2, np.float32)


def _gaussian(size: int) -> Kernel:
    distance = np.arange(size) - (size - 1) / 2
    weights = np.exp(-(distance**2) / (2 * (size / 4) ** 2))
    weights /= weights.sum()
    return np.outer(weights, weights).astype(np.float32)


def _bilinear(size: int) -> Kernel:
    weights = 1 - np.abs(np.arange(size) - size // 2) / (size // 2 + 1)
    return np.outer(weights, weights).astype(np.float32)


class Recipe(NamedTuple):
    """A kernel by name.

    Attributes:
        description: what it does, as cross-correlation lays it over a picture.
        make: the kernel of a size, cells along each side.
        size: its own size, or the usual one.
        sized: whether it can have others.
        odd: whether it needs a cell in the middle.
    """

    description: str
    make: Callable[[int], Kernel]
    size: int = 3
    sized: bool = False
    odd: bool = False


def _fixed(description: str, *rows: tuple[float, ...]) -> Recipe:
    return Recipe(description, lambda _: np.array(rows, np.float32))


NAMED: dict[str, Recipe] = {
    "identity": Recipe(
        "1 in the middle and 0 around it, which gives the picture itself", _identity, sized=True, odd=True
    ),
    "sobel-x": _fixed("the slope to the right, positive where it grows brighter", (-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "sobel-y": _fixed("the slope downwards, positive where it grows brighter", (-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "laplacian": _fixed("edges of all directions, by the second derivative", (0, 1, 0), (1, -4, 1), (0, 1, 0)),
    "outline": _fixed(
        "what a pixel has more than its eight neighbours, as outlines and points have",
        (-1, -1, -1),
        (-1, 8, -1),
        (-1, -1, -1),
    ),
    "sharpen": _fixed("the picture less its Laplacian, so that edges stand out", (0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "emboss": _fixed(
        "a relief in which bright is high and light falls from the upper left", (-2, -1, 0), (-1, 1, 1), (0, 1, 2)
    ),
    "box": Recipe("blurs by the mean of the window", _box, sized=True),
    "gaussian": Recipe("blurs by a Gaussian bell with σ = size/4 and sum 1", _gaussian, sized=True),
    "bilinear": Recipe(
        "a tent of height 1, which with size 2S − 1 interpolates in a transposed convolution of stride S",
        _bilinear,
        sized=True,
        odd=True,
    ),
}
"""The named kernels, numbered as cross-correlation lays them over a picture; convolution turns them by 180°."""


def named_kernel(name: str, size: int | None = None) -> Kernel:
    """A kernel of `NAMED`, float32 (height, width), of its own or usual size without one.

    Raises:
        MalformedError: it has no such size.
    """
    recipe = NAMED[name]
    if size is None:
        return recipe.make(recipe.size)
    if not recipe.sized and size != recipe.size:
        others = ", ".join(name for name, other in NAMED.items() if other.sized)
        raise MalformedError(
            f"size: the kernel {name} is {recipe.size}×{recipe.size}; a size can be chosen of {others}"
        )
    if recipe.odd and size % 2 == 0:
        raise MalformedError(f"size: the kernel {name} needs an odd size, with a cell in its middle, and not {size}")
    return recipe.make(size)


def read_kernel(text: str) -> Kernel:
    """One's own kernel, float32 (height, width), of numbers with commas between them and rows with semicolons.

    Raises:
        MalformedError: it is no such grid of at most 15×15 finite numbers; the message says why.
    """
    if len(text) > _LONGEST:
        raise MalformedError(f"kernel: it has {len(text):,} characters, and at most {_LONGEST:,} are read")
    rows = [[number.strip() for number in row.split(",")] for row in text.split(";")]
    height, width = len(rows), len(rows[0])
    if height > LARGEST or max(map(len, rows)) > LARGEST:
        raise MalformedError(
            f"kernel: it has {height} rows of up to {max(map(len, rows))} numbers, and at most {LARGEST}×{LARGEST} "
            "are taken"
        )
    for place, row in enumerate(rows, start=1):
        if len(row) != width:
            raise MalformedError(f"kernel: row 1 has {width} numbers and row {place} has {len(row)}; all need as many")
    return np.array([[_weight(number) for number in row] for row in rows], np.float32)


def _weight(text: str) -> float:
    if len(text) > _DIGITS or not _NUMBER.fullmatch(text):
        raise MalformedError(
            f"kernel: '{text[:40]}' is no number; it is to be a name ({', '.join(NAMED)}) or rows of numbers such as "
            "1,0,-1;2,0,-2;1,0,-1"
        )
    value = float(text)
    if abs(value) > HEAVIEST:
        raise MalformedError(f"kernel: {text[:40]} is beyond ±{HEAVIEST:,}, the largest weights that are taken")
    return value
