"""The IDX file format of MNIST: a magic number, the size of each axis, then the values.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

_UNSIGNED_BYTE = 0x08


def decompress(path: Path) -> bytes:
    """The content of a file, gzipped or not.

    Raises:
        DataError: the file cannot be read, or its compression is damaged or cut off.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged: its gzip stream does not end as it should") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def parse(content: bytes, source: str, axes: int) -> NDArray[np.uint8]:
    """The array of an IDX document of unsigned bytes with a given number of axes; `source` names it in errors.

    Raises:
        DataError: the magic number is another one, or values are missing or too many.
    """
    expected = _UNSIGNED_BYTE << 8 | axes
    if len(content) < 4:
        raise DataError(f"{source} is truncated: it ends within its magic number")
    (magic,) = struct.unpack(">I", content[:4])
    if magic != expected:
        raise DataError(f"{source} has the magic number {magic:#010x}, not {expected:#010x}")
    header = 4 + 4 * axes
    if len(content) < header:
        raise DataError(f"{source} is truncated: it ends within its header")
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise DataError(f"{source} holds {len(content) - header:,} values, but its header says {math.prod(shape):,}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
