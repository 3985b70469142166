"""PNG files put together chunk by chunk, right and wrong (PNG specification, 3rd edition, https://www.w3.org/TR/png-3/)."""

import struct
import zlib
from collections.abc import Iterator

from tests.hostile.case import Case, picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = ("IEND", b"")


def chunk(kind: str, data: bytes, *, crc: int | None = None, length: int | None = None) -> bytes:
    """A chunk, with a checksum and a length that may lie."""
    code = kind.encode("latin-1")
    told = zlib.crc32(code + data) if crc is None else crc
    return struct.pack(">I", len(data) if length is None else length) + code + data + struct.pack(">I", told)


def header(width: int = 28, height: int = 28, depth: int = 8, colour: int = 0, *rest: int) -> tuple[str, bytes]:
    """IHDR; `rest` are the methods of compression, filtering and interlacing, all 0."""
    methods = (*rest, 0, 0, 0)[:3]
    return "IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *methods)


def png(*parts: tuple[str, bytes]) -> bytes:
    """A file of chunks."""
    return _SIGNATURE + b"".join(chunk(kind, data) for kind, data in parts)


def rows(width: int = 28, height: int = 28, filtering: int = 0) -> bytes:
    """Rows of one byte a pixel, all behind one filter type, deflated."""
    return zlib.compress(b"".join(bytes([filtering]) + bytes(range(width)) for _ in range(height)))


def pngs() -> Iterator[Case]:
    """Files that are wrong in one way each, or right in a way that is rare."""
    data = ("IDAT", rows())
    yield picture("png/right", png(header(), data, _END))
    for depth in (0, 1, 2, 3, 4, 7, 8, 16, 32, 255):
        for colour in (0, 1, 2, 3, 4, 5, 6, 255):
            yield picture(f"png/depth-{depth}-colour-{colour}", png(header(28, 28, depth, colour), data, _END))
    for width, height in ((0, 28), (28, 0), (2**31 - 1, 1), (1, 2**31 - 1), (2**31, 28), (2**32 - 1, 2**32 - 1)):
        yield picture(f"png/{width}x{height}", png(header(width, height), data, _END))
    for width, height in (
        (65535, 65535),
        (30000, 30000),
        (4097, 4096),
        (1, 16777216),
        (16777216, 1),
        (27, 28),
        (29, 28),
    ):
        yield picture(f"png/{width}x{height}", png(header(width, height), data, _END))
    for methods in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2), (255, 255, 255)):
        yield picture(f"png/methods-{methods}", png(header(28, 28, 8, 0, *methods), data, _END))
    for filtering in (1, 2, 3, 4, 5, 127, 255):
        yield picture(f"png/filter-{filtering}", png(header(), ("IDAT", rows(filtering=filtering)), _END))
    yield from _orders(data)
    yield from _palettes()
    yield from _texts(data)
    yield from _streams()


def _orders(data: tuple[str, bytes]) -> Iterator[Case]:
    yield picture("png/nothing-but-signature", _SIGNATURE)
    yield picture("png/no-header", png(data, _END))
    yield picture("png/no-data", png(header(), _END))
    yield picture("png/no-end", png(header(), data))
    yield picture("png/two-headers", png(header(), header(100, 100), data, _END))
    yield picture("png/header-after-data", png(data, header(), _END))
    yield picture("png/end-first", png(_END, header(), data))
    yield picture("png/two-pictures", png(header(), data, _END) * 2)
    half = len(data[1]) // 2
    pieces = [("IDAT", data[1][place : place + 1]) for place in range(len(data[1]))]
    yield picture("png/data-byte-by-byte", png(header(), *pieces, _END))
    yield picture("png/empty-data", png(header(), *[("IDAT", b"")] * 500, data, _END))
    yield picture(
        "png/data-torn", png(header(), ("IDAT", data[1][:half]), ("tEXt", b"a\0b"), ("IDAT", data[1][half:]), _END)
    )
    yield picture("png/unknown-critical", png(header(), ("ABCD", b""), data, _END))
    yield picture("png/no-letters", _SIGNATURE + chunk("\0\1\2\3", b"") + chunk(*data))
    for length in (0, 1, 2**31 - 1, 2**32 - 1):
        yield picture(f"png/data-length-{length}", png(header()) + chunk(*data, length=length) + chunk(*_END))
    for crc in (0, 2**32 - 1):
        yield picture(f"png/header-crc-{crc}", _SIGNATURE + chunk(*header(), crc=crc) + chunk(*data) + chunk(*_END))
        yield picture(f"png/data-crc-{crc}", png(header()) + chunk(*data, crc=crc) + chunk(*_END))
        yield picture(f"png/end-crc-{crc}", png(header(), data) + chunk(*_END, crc=crc))


def _palettes() -> Iterator[Case]:
    coloured = header(28, 28, 8, 3)
    data = ("IDAT", rows())
    for size in (0, 1, 3, 4, 84, 768, 771, 30000):
        yield picture(f"png/palette-{size}", png(coloured, ("PLTE", bytes(size)), data, _END))
    for size in (0, 1, 28, 256, 257, 5000):
        parts = (coloured, ("PLTE", bytes(84)), ("tRNS", bytes(size)), data, _END)
        yield picture(f"png/opacity-{size}", png(*parts))
        yield picture(f"png/grey-opacity-{size}", png(header(), ("tRNS", bytes(size)), data, _END))
    yield picture("png/no-palette", png(coloured, data, _END))
    yield picture("png/opacity-without-palette", png(coloured, ("tRNS", bytes(28)), data, _END))


def _texts(data: tuple[str, bytes]) -> Iterator[Case]:
    bomb = zlib.compress(bytes(50_000_000), 9)
    yield picture("png/text-bomb", png(header(), ("zTXt", b"a\0\0" + bomb), data, _END))
    yield picture("png/international-text-bomb", png(header(), ("iTXt", b"a\0\1\0\0\0" + bomb), data, _END))
    yield picture("png/profile-bomb", png(header(), ("iCCP", b"a\0\0" + bomb), data, _END))
    texts = [("tEXt", b"k%d\0v" % number) for number in range(5000)]
    yield picture("png/many-texts", png(header(), *texts, data, _END))
    for kind in (
        "tEXt",
        "zTXt",
        "iTXt",
        "iCCP",
        "eXIf",
        "pHYs",
        "gAMA",
        "cHRM",
        "sRGB",
        "acTL",
        "fcTL",
        "fdAT",
        "tIME",
    ):
        for content in (b"", b"\0", b"\xff" * 3, b"a\0\x09" + b"x" * 20):
            yield picture(f"png/{kind}-{content[:4].hex()}", png(header(), (kind, content), data, _END))
    exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", 1) + struct.pack(">HHIHH", 274, 3, 1, 6, 0) + struct.pack(">I", 8)
    yield picture("png/exif-that-leads-to-itself", png(header(), ("eXIf", exif), data, _END))
    frames = ("acTL", struct.pack(">II", 2**31 - 1, 0))
    yield picture("png/two-billion-frames", png(header(), frames, data, _END))


def _streams() -> Iterator[Case]:
    raw = zlib.decompress(rows())
    for name, data in {
        "too-short": zlib.compress(raw[:100]),
        "too-long": zlib.compress(raw * 3),
        "bomb": zlib.compress(bytes(50_000_000), 9),
        "no-zlib": raw,
        "empty": b"",
        "cut": rows()[:-5],
        "wrong-sum": rows()[:-4] + b"\0\0\0\0",
        "with-dictionary": b"\x78\x3f" + rows()[2:],
        "more-behind": rows() + b"x" * 1000,
        "stored": zlib.compress(raw, 0),
    }.items():
        yield picture(f"png/stream-{name}", png(header(), ("IDAT", data), _END))
