"""Arrays as files: PNG for pictures, also as data URLs for pages, and NumPy's NPY and NPZ for numbers."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_png(colours: NDArray[np.uint8]) -> bytes:
    """Grey levels (height, width) or sRGB (height, width, 3) as a PNG of a pixel each."""
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "PNG")
    return buffer.getvalue()


def to_url(png: bytes) -> str:
    """A PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def to_npy(values: NDArray[Any]) -> bytes:
    """An array in the NPY format."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def to_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name in the NPZ format."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
