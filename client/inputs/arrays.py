"""Arrays of NumPy → items: the format NPY is read in pieces, so that an array may be larger than memory.

Source: NumPy's documentation, "numpy.lib.format".
"""

import io
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.errors import InputError
from client.inputs.item import LARGEST, Content, Item, broken
from client.prediction import PIXELS, SIDE

_PIECE = 2**18  # bytes that are read at once; an image that is larger is read by itself
_HEADER = 2**16  # bytes of the longest header; NumPy reads none that has as many
_SHAPES = "(n, 28, 28), (n, 1, 28, 28) or (n, 784) of prepared digits, or (n, height, width[, 3 or 4]) of pictures"
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npy_items(name: str, file: BinaryIO) -> Iterator[Item]:
    """The images of an NPY file, as `name[0]` and so on."""
    try:
        shape, fortran, dtype = _READERS[np.lib.format.read_magic(file)](_Header(file))
    except Exception as error:  # NumPy raises what its parsers do, too
        yield broken(name, f"its NPY header cannot be read: {error}")
        return
    if fortran and len(shape) > 1:
        yield broken(name, "it is in Fortran's order, which cannot be read in pieces: numpy.ascontiguousarray helps")
    elif dtype.kind not in "buif":
        yield broken(name, f"its values are of type {dtype}, and numbers are needed")
    else:
        yield from array_items(name, file, shape, dtype)


class _Header:
    """A file that NumPy reads a header of, which is not to be as long as it says, up to 4 GiB."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, wanted: int = _HEADER, /) -> bytes:
        """At most so many bytes."""
        if wanted > _HEADER:
            raise InputError(f"it says that it has {wanted:,} bytes")
        return self._file.read(wanted)


def array_items(name: str, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Item]:
    """The images of an array whose values come next in a file, row-major."""
    one = image_shape(shape)
    if one is None:
        yield broken(name, f"its shape is {shape}, and it is to be {_SHAPES}")
        return
    count = math.prod(shape) // math.prod(one)
    size = math.prod(one) * dtype.itemsize
    if size > LARGEST:
        yield broken(name, f"each of its images has {size:,} bytes, and at most {LARGEST:,} are read")
        return
    for start in range(0, count, step := max(1, _PIECE // size)):
        wanted = min(step, count - start) * size
        try:
            piece = _read(file, wanted)
        except Exception as error:  # of whatever storage or compression it lies in
            yield broken(f"{name}[{start}]", f"it cannot be read from here on: {error}")
            return
        whole = len(piece) // size
        images = np.frombuffer(piece, dtype, whole * math.prod(one)).reshape(whole, *one)
        yield from image_items(name, images, start)
        if whole * size < wanted:
            yield broken(f"{name}[{start + whole}]", f"it ends here, and {count:,} images are announced")
            return


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of one image of an array, (28, 28) of a prepared digit; None if it is none of images."""
    if any(length < 1 for length in shape):
        return None
    if (shape[-2:] == (SIDE, SIDE) and len(shape) <= 3) or (len(shape) == 4 and shape[1:] == (1, SIDE, SIDE)):
        return (SIDE, SIDE)
    if len(shape) <= 2 and shape[-1:] == (PIXELS,):
        return (SIDE, SIDE)
    if len(shape) == 4 and shape[-1] in (1, 3, 4):
        return shape[1:] if shape[-1] > 1 else shape[1:3]
    return shape[-2:] if len(shape) in (2, 3) else None


def image_items(name: str, images: NDArray[Any], start: int) -> Iterator[Item]:
    """The items of images, counted from `start`."""
    for number, image in enumerate(images, start):
        yield Item(f"{name}[{number}]", partial(_content, image))


def _content(image: NDArray[Any]) -> Content:
    levels = _levels(image)
    if levels.shape == (SIDE, SIDE):
        return Content("digit", levels.tobytes())
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", compress_level=1)
    return Content("picture", buffer.getvalue())


def _levels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Values as grey levels: whole numbers from 0 to 255 as they are, real ones from 0 to 1 and truth values scaled."""
    if image.dtype == np.uint8:
        return image
    most = 255 if image.dtype.kind in "ui" else 1
    if not (image.min() >= 0 and image.max() <= most):  # NaN is neither
        raise InputError(f"its values are not all from 0 to {most}")
    return np.rint(image.astype(np.float32) * (255 // most)).astype(np.uint8)


def _read(file: BinaryIO, wanted: int) -> bytes:
    """As many bytes as are wanted, or all that there are."""
    pieces = []
    while wanted and (piece := file.read(wanted)):
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces)
