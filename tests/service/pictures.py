"""Pictures for the tests, made by Pillow and NumPy."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.generic]
UPRIGHT = ((0.5, 0.02, 0.5, 0.98),)
SEVEN = ((0.08, 0.08, 0.92, 0.08), (0.92, 0.08, 0.4, 0.95))
"""Strokes of a digit, as x and y of both ends in parts of its width and height."""


def encode(picture: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """A picture file."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, kind, **options)
    return buffer.getvalue()


def enlarged(digit: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """A digit whose every pixel became a square."""
    return digit.repeat(factor, axis=0).repeat(factor, axis=1)


def drawn(
    strokes: tuple[tuple[float, ...], ...] = SEVEN, *, mode: str = "L", ground: Any = 255, ink: Any = 0
) -> Image.Image:
    """A digit of thick strokes in the middle of a picture of 300×200 pixels."""
    picture = Image.new(mode, (300, 200), ground)
    draw = ImageDraw.Draw(picture)
    for x0, y0, x1, y1 in strokes:
        ends = [(100 + 100 * x0, 30 + 140 * y0), (100 + 100 * x1, 30 + 140 * y1)]
        draw.line(ends, ink, 16)
    return picture
