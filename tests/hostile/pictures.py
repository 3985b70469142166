"""Pictures of every format that Pillow writes, whole and damaged, with sizes that lie, and several things at once."""

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.hostile.case import Case, picture
from tests.service.pictures import drawn, encode

READ = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The formats that the service reads."""

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
_CUTS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)
_FLIPS = 12


def every_format() -> Iterator[Case]:
    """A digit in every format and mode that Pillow writes, those among them that the service does not read."""
    Image.init()
    small = drawn().reduce(4)
    for kind in sorted(Image.SAVE):
        for mode in _MODES:
            try:
                with warnings.catch_warnings(
                    action="ignore", category=DeprecationWarning
                ):  # of formats that Pillow tires of
                    data = encode(small.convert(mode), kind)
            except (OSError, ValueError, KeyError, AttributeError, TypeError):  # it has no such mode, or no encoder
                continue
            yield picture(f"{kind}/{mode}", data)


def damaged() -> Iterator[Case]:
    """Each format cut off, with bytes changed, and with something before or behind."""
    chance = random.Random(20261128)  # noqa: S311 — not for secrets
    small = drawn().reduce(4)
    for kind in READ:
        whole = encode(small, kind)
        for cut in (*_CUTS, len(whole) // 2, len(whole) - 1):
            if cut < len(whole):
                yield picture(f"{kind}/cut-{cut}", whole[:cut])
        for number in range(_FLIPS):
            harmed = bytearray(whole)
            for place in (chance.randrange(min(len(whole), 120)), chance.randrange(len(whole))):
                harmed[place] ^= 1 << chance.randrange(8)
            yield picture(f"{kind}/flipped-{number}", bytes(harmed))
        yield picture(f"{kind}/behind-nothing", bytes(100) + whole)
        yield picture(f"{kind}/before-nothing", whole + bytes(100_000))
        yield picture(f"{kind}/head-and-noise", whole[:40] + chance.randbytes(2000))


def two_things() -> Iterator[Case]:
    """Files that are a picture and something else besides."""
    small = drawn().reduce(4)
    page = b"<script>alert(1)</script><!--"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("../../etc/passwd", "x")
    for kind in READ:
        whole = encode(small, kind)
        yield picture(f"{kind}/and-archive", whole + archive.getvalue())
        yield picture(f"{kind}/and-page", whole + page)
        yield picture(f"page-and-{kind}", page + whole)
        yield picture(f"{kind}/and-{kind}", whole * 2)
    yield picture("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>')
    yield picture("svg-entities", b'<!DOCTYPE a [<!ENTITY b "bb">' + b'<!ENTITY c "&b;&b;">' * 50 + b"]><svg>&c;</svg>")
    yield picture("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n(%pipe%id) (w) file\n")
    yield picture("pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/URI/URI(file:///etc/passwd)>>>>endobj\n")
    yield picture("mvg", b"push graphic-context\nfill 'url(https://127.0.0.1/x.jpg\"|id\")'\npop graphic-context\n")
    yield picture("elf", b"\x7fELF" + bytes(2000))
    yield picture(
        "python-object", b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
    )
    yield picture("text", "drei — 3".encode())
    yield picture("empty", b"")
    yield picture("one-byte", b"\0")


def lying_sizes() -> Iterator[Case]:
    """Headers that tell of other sizes than there are."""
    small = drawn().reduce(4)
    sizes = (0, 1, 7, 8, 32767, 65535)
    gif, bmp, jpeg = encode(small, "GIF"), encode(small, "BMP"), encode(small, "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    for width in sizes:
        for height in sizes:
            yield picture(f"GIF/{width}x{height}", gif[:6] + struct.pack("<HH", width, height) + gif[10:])
            told = struct.pack(">HH", height, width)
            yield picture(f"JPEG/{width}x{height}", jpeg[:frame] + told + jpeg[frame + 4 :])
    for width, height in ((0, 0), (-28, 28), (28, -28), (2**31 - 1, 2**31 - 1), (-(2**31), -(2**31)), (70000, 70000)):
        yield picture(f"BMP/{width}x{height}", bmp[:18] + struct.pack("<ii", width, height) + bmp[26:])
    for bits in (0, 1, 2, 3, 4, 16, 24, 32, 64, 65535):
        yield picture(f"BMP/bits-{bits}", bmp[:28] + struct.pack("<H", bits) + bmp[30:])
    for method in (1, 2, 3, 4, 5, 6, 11, 2**32 - 1):
        yield picture(f"BMP/compression-{method}", bmp[:30] + struct.pack("<I", method) + bmp[34:])
    for offset in (0, 1, 2**31, 2**32 - 1):
        yield picture(f"BMP/offset-{offset}", bmp[:10] + struct.pack("<I", offset) + bmp[14:])


def tiff_tags() -> Iterator[Case]:
    """TIFF files whose directory has one tag of another type, number or value (TIFF 6.0)."""
    whole = encode(drawn().reduce(4), "TIFF")
    (directory,) = struct.unpack("<I", whole[4:8])
    (count,) = struct.unpack("<H", whole[directory : directory + 2])
    for number in range(count):
        place = directory + 2 + 12 * number
        tag, kind, amount, value = struct.unpack("<HHII", whole[place : place + 12])
        for changed in (
            (tag, kind, amount, 0),
            (tag, kind, amount, 2**32 - 1),
            (tag, kind, 2**31, value),
            (tag, 99, amount, value),
        ):
            entry = struct.pack("<HHII", *changed)
            yield picture(f"TIFF/tag-{tag}-{changed[1:]}", whole[:place] + entry + whole[place + 12 :])
    yield picture("TIFF/no-tags", whole[:directory] + b"\0\0" + bytes(4))
    yield picture("TIFF/all-tags", whole[:directory] + b"\xff\xff" + whole[directory + 2 :])
    after = directory + 2 + 12 * count
    yield picture("TIFF/leads-to-itself", whole[:after] + struct.pack("<I", directory) + whole[after + 4 :])
    yield picture("TIFF/leads-beyond", whole[:4] + struct.pack("<I", 2**32 - 1) + whole[8:])
    yield picture("TIFF/big", b"II+\0" + struct.pack("<HHQ", 8, 0, 2**63) + bytes(100))


def much_work() -> Iterator[Case]:
    """Small files that ask for much: of pixels, frames, scans or unpacking."""
    for side in (4096, 5000, 16000):
        yield picture(f"PNG/black-{side}", encode(Image.new("1", (side, side))))
    yield picture("PNG/line", encode(Image.new("L", (60000, 10))))
    yield picture("WEBP/black", encode(Image.new("L", (16383, 1025)), "WEBP", lossless=True))
    yield picture("TIFF/deflated", encode(Image.new("L", (9000, 9000)), "TIFF", compression="tiff_deflate"))
    yield picture("TIFF/packed", encode(Image.new("1", (12000, 12000)), "TIFF", compression="group4"))
    frames = [Image.fromarray(np.full((40, 40), number % 256, np.uint8)) for number in range(600)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        yield picture(f"{kind}/frames", encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    scans = encode(drawn(), "JPEG", progressive=True)
    scan = scans[scans.index(b"\xff\xda") : scans.rindex(b"\xff\xda")]
    end = scans.rindex(b"\xff\xd9")
    yield picture("JPEG/scans", scans[:end] + scan * 300 + scans[end:])
    yield picture("JPEG/comments", scans[:2] + (b"\xff\xfe\xff\xff" + b"x" * 65533) * 20 + scans[2:])
    yield picture("JPEG/tables", scans[:2] + (b"\xff\xdb\0\x43\0" + b"\1" * 64) * 5000 + scans[2:])
    yield picture("JPEG/fill-bytes", scans[:2] + b"\xff" * 500_000 + scans[2:])
    noise = np.random.default_rng(1).integers(0, 256, (2000, 2000), np.uint8)
    yield picture("PNG/noise", encode(noise))
    dots = np.full((1200, 1200), 255, np.uint8)
    dots[::4, ::4] = 0
    yield picture("PNG/ninety-thousand-pieces", encode(dots))
    checks = (np.indices((1024, 1024)).sum(axis=0) % 2 * 255).astype(np.uint8)
    yield picture("PNG/chessboard", encode(checks))
