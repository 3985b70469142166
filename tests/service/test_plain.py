"""The plainest PNG, read past Pillow's ways: as Pillow reads it, or not at all."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.plain import plain_png
from tests.conftest import Mnist
from tests.service.pictures import encode

LEAST, MOST = 8, 64 * 64  # pixels
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
TYPES = {"L": 0, "RGB": 2, "RGBA": 6}


def by_pillow(data: bytes) -> Image.Image | None:
    """What Pillow decodes, told nothing about it; None where it does not."""
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except Exception:  # whatever a damaged file makes it raise
        return None
    return picture


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def written(mode: str, width: int, height: int, filters: list[int], lines: bytes) -> bytes:
    """A PNG of such a mode whose lines have those filters, each with bytes that are drawn at random."""
    wide = width * CHANNELS[mode]
    rows = b"".join(bytes([filters[y]]) + lines[y * wide : (y + 1) * wide] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, TYPES[mode], 0, 0, 0)
    chunks = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@settings(deadline=None)
@given(st.sampled_from(sorted(CHANNELS)), st.integers(8, 64), st.integers(8, 64), st.data())
def test_all_filters_are_undone_as_pillow_undoes_them(mode: str, width: int, height: int, data: st.DataObject) -> None:
    """Grey, colours and opacity, each line by any of the five filters: not a pixel differs."""
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    size = width * height * CHANNELS[mode]
    lines = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers(0, 256, size, np.uint8).tobytes()
    file = written(mode, width, height, filters, lines)
    found, expected = plain_png(file, LEAST, MOST), by_pillow(file)
    assert found is not None and expected is not None
    assert (found.mode, found.size, found.format, found.info) == (mode, expected.size, "PNG", {})
    assert found.tobytes() == expected.tobytes()


def test_digits_are_of_that_kind(mnist: Mnist) -> None:
    """What Pillow writes of a digit is read so, and is the digit again."""
    for digit in mnist.images[:500]:
        for options in ({}, {"optimize": True}, {"compress_level": 0}):
            found = plain_png(encode(digit, **options), LEAST, MOST)
            assert found is not None
            np.testing.assert_array_equal(np.asarray(found), digit)


@settings(deadline=None, max_examples=400)
@given(st.integers(0, 9_999), st.data())
def test_what_is_damaged_is_read_as_pillow_reads_it_or_left_to_it(
    mnist: Mnist, number: int, data: st.DataObject
) -> None:
    """Whatever bits are turned and bytes lost or added, nothing is read that Pillow would refuse or read otherwise."""
    file = bytearray(encode(mnist.images[number]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(file) - 1))
        what = data.draw(st.sampled_from(("turned", "lost", "added")))
        if what == "turned":
            file[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            file[place : place + (what == "lost")] = (
                b"" if what == "lost" else data.draw(st.binary(min_size=1, max_size=4))
            )
    found = plain_png(bytes(file), LEAST, MOST)
    if found is not None:
        expected = by_pillow(bytes(file))
        assert expected is not None
        assert (found.mode, found.size, found.tobytes()) == (expected.mode, expected.size, expected.tobytes())


def changed(levels: NDArray[np.uint8], **head: int) -> bytes:
    """A digit's file with other values in its header, checksum included."""
    file = encode(levels)
    names = ("width", "height", "bits", "colours", "compression", "filters", "interlaced")
    fields = dict(zip(names, struct.unpack(">IIBBBBB", file[16:29]), strict=True)) | head
    return file[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", *fields.values())) + file[33:]


@pytest.mark.parametrize(
    "head",
    [{"bits": 16}, {"bits": 4}, {"colours": 3}, {"colours": 4}, {"compression": 1}, {"filters": 1}, {"interlaced": 1}],
    ids=str,
)
def test_other_kinds_are_left_to_pillow(mnist: Mnist, head: dict[str, int]) -> None:
    """Other depths, palettes, grey with opacity and interlacing are none of this."""
    assert plain_png(changed(mnist.images[0]), LEAST, MOST) is not None
    assert plain_png(changed(mnist.images[0], **head), LEAST, MOST) is None


@pytest.mark.parametrize(
    ("width", "height", "taken"),
    [(8, 8, True), (7, 9, False), (9, 7, False), (64, 64, True), (64, 65, False), (0, 8, False), (2**31, 2**31, False)],
)
def test_sizes_are_within_limits(width: int, height: int, taken: bool) -> None:
    """Neither smaller nor larger pictures are decoded here, whatever their files say."""
    lines = bytes(min(width * height, 10**4))
    file = (
        written("L", width, height, [0] * min(height, 100), lines)
        if height < 100
        else changed(np.zeros((8, 8), np.uint8), width=width, height=height)
    )
    assert (plain_png(file, LEAST, MOST) is not None) == taken


def test_chunks_beside_the_pixels_are_left_to_pillow(mnist: Mnist) -> None:
    """Transparency, an orientation, a text, a second IDAT, bytes behind the end: what they mean is Pillow's to say."""
    file = encode(mnist.images[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    for other in (
        encode(mnist.images[0], transparency=0),
        encode(mnist.images[0], exif=exif.tobytes()),
        encode(mnist.images[0], dpi=(300, 300)),
        file[:33] + chunk(b"tEXt", b"a\0b") + file[33:],
        file[:-12] + chunk(b"tEXt", b"a\0b") + file[-12:],
        file[:-12] + chunk(b"IDAT", b"") + file[-12:],
        file + b"\0",
        file[:-1],
    ):
        assert plain_png(other, LEAST, MOST) is None
