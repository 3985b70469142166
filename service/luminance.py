"""A picture's luminance as numbers from 0 to 1, pixel by pixel: what the operators work on."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Luminance = NDArray[np.float32]

_REAL = ("I", "F")  # Pillow's modes of 32 bits and of real numbers, which say of no number that it is white


def luminance(picture: Image.Image) -> Luminance:
    """The luminance of a decoded picture, float32 (height, width), 0 for black and 1 for white.

    Colours are weighted as ITU-R BT.601 has it, in steps of 1/255, and what is transparent lies over white. Grey of 16
    bits keeps all of them; numbers of 32 bits are stretched from their least to their largest, and all 0 if they are
    the same.
    """
    if picture.mode in _REAL:
        numbers = np.nan_to_num(np.asarray(picture, np.float32)).astype(np.float64)
        low, high = numbers.min(), numbers.max()
        stretched: Luminance = ((numbers - low) / (high - low or 1.0)).astype(np.float32)
        return stretched
    if picture.mode.startswith("I;16"):
        return np.asarray(picture, np.float32) / np.float32(65535)
    if picture.mode == "LAB":
        picture = picture.getchannel("L")  # which is lightness already, and Pillow converts it to nothing else
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("L"), np.float32) / np.float32(255)
