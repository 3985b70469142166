"""How much a picture asks for before any of it is decoded: its kind, and a guess of the time.

Whoever sends pictures chooses what they cost: 75 kB of PNG may be 67 MB of pixels, and 5 kB as many as that of noise
hardly any. So what one picture took says little about the next, but much about one of the same format that has as many
pixels. Both stand at the beginning of every file, and are read here in microseconds on the event loop; Pillow goes
through all chunks, segments and tags of a header, of which a stranger can send very many.

Where a file lies there, or the beginning is none that is known, what its bytes alone are worth is guessed.
"""

import contextlib
from collections.abc import Callable, Hashable
from struct import Struct, error
from typing import Literal, NamedTuple

_LEAST = 0.005  # seconds; what every picture takes, whatever its size
_EACH = 8e-9  # seconds for each byte of its pixels: from 2e-9 (BMP) to 13e-9 (GIF of noise) on a Xeon of 2.1 GHz
_MOST_BYTES = 2**32  # of pixels; more are refused
_MOST_SEGMENTS = 100  # of a JPEG before its size; cameras write about ten
_MOST_TAGS = 64  # of a TIFF; they are in order, and those of its size among the first
_OTHER_MARKERS = frozenset((0xC4, 0xC8, 0xCC))  # among those of a JPEG's frames
_PROGRESSIVE = 0xC2
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by a PNG's colour type

_BIG = Struct(">II")
_BIG_SHORT = Struct(">HH")
_LITTLE = Struct("<ii")
_LITTLE_SHORT = Struct("<HH")


class Load(NamedTuple):
    """Work of one kind takes about as long as other work of it; `guess` is in seconds, until some has been done."""

    kind: Hashable
    guess: float


class Header(NamedTuple):
    """What the beginning of a picture tells: its format, the bytes of each pixel, and its size in pixels."""

    format: str
    depth: int
    width: int
    height: int


def load_of(data: bytes, work: str) -> Load:
    """What it takes to do some work, such as "read", with the bytes of a picture."""
    header = header_of(data)
    size = len(data) if header is None else max(len(data), header.width * header.height * header.depth)
    size = min(size, _MOST_BYTES)
    # Twice as large is another kind.
    return Load((work, header and header.format, size.bit_length()), _LEAST + _EACH * size)


def header_of(data: bytes) -> Header | None:
    """What the beginning of a picture tells; None where it is of no format that is read here, or too strange."""
    with contextlib.suppress(error, IndexError):  # it ends before
        for beginning, header in _FORMATS.items():
            if data.startswith(beginning):
                return header(data)
    return None


def _png(data: bytes) -> Header:
    return Header("PNG", _CHANNELS.get(data[25], 1) * max(1, data[24] // 8), *_BIG.unpack_from(data, 16))


def _gif(data: bytes) -> Header:
    return Header("GIF", 1, *_LITTLE_SHORT.unpack_from(data, 6))


def _bmp(data: bytes) -> Header:
    if data[14] == 12:  # OS/2's, the oldest
        return Header("BMP", max(1, data[24] // 8), *_LITTLE_SHORT.unpack_from(data, 18))
    width, height = _LITTLE.unpack_from(data, 18)
    return Header("BMP", max(1, data[28] // 8), abs(width), abs(height))


def _webp(data: bytes) -> Header | None:
    # The WebP container's specification, of its three kinds of first chunks.
    match data[8:16]:
        case b"WEBPVP8 ":
            width, height = _LITTLE_SHORT.unpack_from(data, 26)
            return Header("WEBP", 3, width & 0x3FFF, height & 0x3FFF)
        case b"WEBPVP8L":
            sides = int.from_bytes(data[21:25], "little")
            return Header("WEBP", 4, (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1)
        case b"WEBPVP8X":
            sides = int.from_bytes(data[24:30], "little")
            return Header("WEBP", 4, (sides & 0xFFFFFF) + 1, (sides >> 24) + 1)
    return None


def _jpeg(data: bytes) -> Header | None:
    # ITU-T T.81, annex B: segments follow each other, and one that begins a frame has its size.
    place = 2
    for _ in range(_MOST_SEGMENTS):
        marker = data[place + 1]
        if marker == 0xFF:  # which may fill the space between two
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _OTHER_MARKERS:
            height, width = _BIG_SHORT.unpack_from(data, place + 5)
            return Header("JPEG in scans" if marker == _PROGRESSIVE else "JPEG", data[place + 9], width, height)
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None


def _tiff(data: bytes) -> Header:
    # TIFF 6.0, section 2, and BigTIFF, in which counts and offsets have 64 bits.
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    big = data[2:4].strip(b"\0") == b"+"

    def number(place: int, size: int) -> int:
        if place + size > len(data):
            raise IndexError
        return int.from_bytes(data[place : place + size], order)

    place, wide, step = (number(8, 8), 8, 20) if big else (number(4, 4), 2, 12)
    sizes = {277: 1, 256: 0, 257: 0}  # samples of a pixel, width, height
    for index in range(min(number(place, wide), _MOST_TAGS)):
        entry = place + wide + step * index
        if (tag := number(entry, 2)) in sizes:
            sizes[tag] = number(entry + (12 if big else 8), 2 if number(entry + 2, 2) == 3 else 4)
    return Header("TIFF", *sizes.values())


_FORMATS: dict[bytes, Callable[[bytes], Header | None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    b"RIFF": _webp,
    b"BM": _bmp,
    b"GIF8": _gif,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
}
