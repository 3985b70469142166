"""What the beginning of a picture tells of the work that it is: against Pillow, which goes through all of it."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.image import FORMATS
from service.load import Load, header_of, load_of
from service.usual import Usual
from tests.service.pictures import encode

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("JPEG", {}),
    ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + bytes(60_000)}),
    ("WEBP", {"quality": 10}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
    ("BMP", {}),
    ("GIF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"big_tiff": True}),
]
BYTES = {"L": 1, "RGB": 3, "RGBA": 4}


@given(st.sampled_from(KINDS), st.sampled_from(sorted(BYTES)), st.integers(1, 700), st.integers(1, 700))
def test_format_and_size_are_those_that_pillow_finds(
    kind: tuple[str, dict[str, Any]], mode: str, width: int, height: int
) -> None:
    """Of whatever size, in grey, colours and with opacity, whatever stands before the size."""
    name, options = kind
    data = encode(Image.new("RGB" if name == "JPEG" else mode, (width, height)), name, **options)
    header = header_of(data)
    with Image.open(io.BytesIO(data)) as picture:
        assert header is not None and header.format.split()[0] == picture.format
        assert (header.width, header.height) == picture.size == (width, height)
    if name in ("PNG", "BMP", "TIFF"):
        assert header.depth == BYTES[mode]


def test_every_format_that_is_read_is_known() -> None:
    """None is left to the guess by its bytes."""
    assert {name for name, _ in KINDS} == set(FORMATS)


def test_those_of_old_and_those_of_16_bits() -> None:
    """OS/2's bitmaps have sizes of 16 bits, TIFF's numbers stand in either order; deep grey has two bytes a pixel."""
    old = b"BM" + bytes(12) + (12).to_bytes(4, "little") + b"\x2c\x01\xc8\0" + b"\1\0\x18\0" + bytes(180_000)
    with Image.open(io.BytesIO(old)) as picture:
        assert picture.size == (300, 200)
    assert header_of(old) == ("BMP", 3, 300, 200)
    assert header_of(encode(Image.new("I;16", (300, 200)))) == ("PNG", 2, 300, 200)
    assert header_of(encode(Image.new("I;16B", (300, 200)), "TIFF")) == ("TIFF", 1, 300, 200)


@given(st.sampled_from([encode(Image.new("L", (20, 20)), kind, **options) for kind, options in KINDS]), st.data())
def test_whatever_is_sent_has_a_load(data: bytes, draw: st.DataObject) -> None:
    """Cut off and changed anywhere, it is still told at once, and takes longer than nothing."""
    changed = bytearray(data[: draw.draw(st.integers(0, len(data)))])
    for place in draw.draw(st.lists(st.integers(0, max(0, len(changed) - 1)), max_size=4)):
        changed[place : place + 1] = draw.draw(st.binary(max_size=3))
    assert 0 < load_of(bytes(changed), "read").guess < 35


def test_a_header_without_end_is_not_followed() -> None:
    """A JPEG of ten thousand segments or filling bytes before its size, and a TIFF of 65,535 tags, tell their bytes."""
    picture = encode(Image.new("L", (20, 20)), "JPEG")[2:]
    assert header_of(b"\xff\xd8" + b"\xff" * 9 + picture) == ("JPEG", 1, 20, 20)
    for many in (b"\xff\xe1\0\2", b"\xff"):
        jpeg = b"\xff\xd8" + many * 10_000 + picture
        assert header_of(jpeg) is None
        assert load_of(jpeg, "read") == load_of(bytes(len(jpeg)), "read")
    assert header_of(b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65_535)) == ("TIFF", 1, 0, 0)


@pytest.mark.parametrize(("small", "large"), [((68, 68), (4096, 4096)), ((300, 300), (700, 700))])
def test_what_small_pictures_take_says_nothing_of_large_ones(small: tuple[int, int], large: tuple[int, int]) -> None:
    """However many small ones were quick, a large one of the same format is taken to need as long as before."""
    usual = Usual()
    one, other = (load_of(encode(Image.new("RGBA", size)), "read") for size in (small, large))
    assert one.guess < other.guess
    for _ in range(1000):
        usual.learn(one, 1e-6, failed=False)
    assert usual.of(one) == 1e-6 and usual.of(other) == other.guess


def test_failing_early_makes_no_work_seem_quick() -> None:
    """A damaged picture ends at once, and only if it took longer than others do that is noted."""
    usual, load = Usual(), Load("a", 0.5)
    usual.learn(load, 0.001, failed=True)
    assert usual.of(load) == 0.5
    usual.learn(load, 2.0, failed=True)
    assert usual.of(load) == 2.0
    usual.learn(load, 1.0, failed=False)
    assert usual.of(load) == pytest.approx(1.8)
