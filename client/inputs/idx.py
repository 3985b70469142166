"""IDX files, in which MNIST comes → items.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from client.inputs.arrays import array_items
from client.inputs.item import Item, broken

_UNSIGNED_BYTE = 0x08
_IMAGES = 3  # axes


def is_idx(head: bytes) -> bool:
    """Whether a file begins as an IDX file of unsigned bytes does."""
    return head[:3] == bytes((0, 0, _UNSIGNED_BYTE)) and len(head) > 3 and 1 <= head[3] <= 8


def idx_items(name: str, file: BinaryIO) -> Iterator[Item]:
    """The images of an IDX file, as `name[0]` and so on."""
    try:
        axes = file.read(4)[3]
        shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    except Exception as error:  # of whatever storage or compression it lies in
        yield broken(name, f"its IDX header cannot be read: {error}")
        return
    if axes != _IMAGES:
        yield broken(name, f"it holds no images: its IDX header says {axes} axes, and images have 3")
        return
    yield from array_items(name, file, shape, np.dtype(np.uint8))
