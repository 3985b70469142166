"""Colour maps for feature maps: equal steps of a value look like equal steps.

Both are drawn as lines through OKLab (B. Ottosson, "A perceptual color space for image processing", 2020), whose
lightness is perceived lightness, and are no rainbow.
"""

import numpy as np
from numpy.typing import NDArray

Palette = NDArray[np.uint8]
Values = NDArray[np.float32]

_LMS_FROM_LAB = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _srgb(lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]) -> Palette:
    """Colours of OKLab in polar form (hue in degrees) as sRGB bytes (n, 3), clipped to what a screen shows."""
    angle = np.deg2rad(hue)
    lab = np.stack((lightness, chroma * np.cos(angle), chroma * np.sin(angle)), axis=-1)
    linear = np.clip((lab @ _LMS_FROM_LAB.T) ** 3 @ _RGB_FROM_LMS.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: Palette = np.rint(encoded * 255).astype(np.uint8)
    return colours


def _sequential() -> Palette:
    place = np.linspace(0, 1, 256)
    return _srgb(0.16 + 0.80 * place, 0.04 + 0.12 * np.sin(np.pi * place), 300 - 195 * place)


def _diverging() -> Palette:
    place = np.linspace(-1, 1, 255)  # an odd number, so that zero has a colour of its own
    distance = np.abs(place)
    return _srgb(0.97 - 0.52 * distance, 0.15 * distance, np.where(place < 0, 255.0, 45.0))


SEQUENTIAL = _sequential()
"""From dark violet to light yellow, 256 colours: for values that are never negative."""
DIVERGING = _diverging()
"""From blue through near white to orange, 255 colours: for signed values, zero in the middle."""


def paint(values: Values, low: float, high: float, *, signed: bool) -> NDArray[np.uint8]:
    """The values (height, width) as sRGB (height, width, 3).

    Signed ones run over ± the larger magnitude of `low` and `high`, so that zero is near white; others over 0–`high`.
    """
    if signed:
        bound = max(abs(low), abs(high))
        place = (values / bound + 1) / 2 if bound else np.full_like(values, 0.5)
        palette = DIVERGING
    else:
        place = values / high if high else np.zeros_like(values)
        palette = SEQUENTIAL
    index = np.rint(np.clip(place, 0, 1) * (len(palette) - 1)).astype(np.intp)
    painted: NDArray[np.uint8] = palette[index]
    return painted
