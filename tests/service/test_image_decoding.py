"""Bytes of a picture → grey levels: formats, modes, orientation, limits, and everything that is no picture."""

import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.errors import MalformedError, NotAPictureError, RequestError, TooLargeError
from service.image import Preprocess, decode, grey_levels, open_picture, read_picture, read_prepared
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode, enlarged

MANY = 10**7  # pixels
Levels = NDArray[np.uint8]


def whole(data: bytes) -> Image.Image:
    """A picture, opened and decoded."""
    return decode(open_picture(data, MANY))


def read(data: bytes) -> NDArray[np.float32]:
    """The grey levels of a picture."""
    return grey_levels(whole(data))


@pytest.fixture(scope="module")
def levels(mnist: Mnist) -> Levels:
    """A real digit of 84×84 pixels whose levels run from 0 to 255."""
    digit = enlarged(mnist.images[0], 3)
    assert digit.min() == 0
    return np.asarray((digit * (255 / digit.max())).round(), np.uint8)


def as_16_bit(levels: Levels) -> Image.Image:
    """The same levels over 0–65535."""
    return Image.fromarray(levels.astype(np.uint16) * 257)


def as_float(levels: Levels) -> Image.Image:
    """The same levels over 0–1."""
    return Image.fromarray(levels.astype(np.float32) / 255)


def as_mode(mode: str) -> Callable[[Levels], Image.Image]:
    """Makes a picture of a mode that holds the levels exactly."""
    return lambda levels: Image.fromarray(levels).convert(mode)


def palette(levels: Levels) -> Image.Image:
    """A picture whose palette counts downwards, so that its indices are no levels."""
    picture = Image.fromarray(255 - levels, "L").convert("P")
    picture.putpalette([255 - index for index in range(256) for _ in "RGB"])
    return picture


EXACT: dict[str, tuple[str, Callable[[Levels], Image.Image], dict[str, Any]]] = {
    **{f"PNG {mode}": ("PNG", as_mode(mode), {}) for mode in ("L", "RGB", "RGBA", "LA")},
    "PNG P": ("PNG", palette, {}),
    "PNG I;16": ("PNG", as_16_bit, {}),
    **{f"WEBP {mode}": ("WEBP", as_mode(mode), {"lossless": True}) for mode in ("RGB", "RGBA")},
    **{f"BMP {mode}": ("BMP", as_mode(mode), {}) for mode in ("L", "RGB", "RGBA")},
    "BMP P": ("BMP", palette, {}),
    "GIF L": ("GIF", as_mode("L"), {}),
    "GIF P": ("GIF", palette, {}),
    **{f"TIFF {mode}": ("TIFF", as_mode(mode), {}) for mode in ("L", "RGB", "RGBA", "LA")},
    "TIFF P": ("TIFF", palette, {}),
    "TIFF deflated": ("TIFF", as_mode("L"), {"compression": "tiff_adobe_deflate"}),
    "TIFF I;16": ("TIFF", as_16_bit, {}),
    "TIFF F": ("TIFF", as_float, {}),
    "TIFF I": ("TIFF", lambda levels: Image.fromarray(levels.astype(np.int32) * 257), {}),
}


@pytest.mark.parametrize("name", EXACT)
def test_lossless_formats_give_back_every_level(name: str, levels: Levels) -> None:
    """Whatever the format and the mode, the grey levels are those that were stored."""
    kind, picture, options = EXACT[name]
    data = encode(picture(levels), kind, **options)
    np.testing.assert_allclose(read(data), levels, atol=0.01)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_two_levels_are_read(kind: str, levels: Levels) -> None:
    """A picture of one bit a pixel is black and white, 0 and 255."""
    picture = Image.fromarray(levels).convert("1", dither=Image.Dither.NONE)
    np.testing.assert_array_equal(read(encode(picture, kind)), np.where(levels > 127, 255, 0))


def tiled(levels: Levels, tile: int) -> bytes:
    """A TIFF of one tile that is deflated (TIFF 6.0, section 15), made byte by byte, since Pillow writes strips."""
    side = len(levels)
    whole = np.zeros((tile, tile), np.uint8)
    whole[:side, :side] = levels
    data = zlib.compress(whole.tobytes())
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 8 + 2 + 12 * 10 + 4}
    tags[325] = len(data)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize("tile", [32, 256, 1024])
def test_a_tile_may_be_larger_than_a_small_picture(tile: int, levels: Levels) -> None:
    """Writers pad pictures to whole tiles of their usual size; what is in the picture's part of it is read."""
    np.testing.assert_array_equal(read(tiled(levels[:28, :28], tile)), levels[:28, :28])


def test_a_tile_that_hides_gigabytes_is_refused(levels: Levels) -> None:
    """The header tells a small picture, and the decoder would fill the whole tile first."""
    data = bytearray(tiled(levels[:28, :28], 64))
    for tag in (322, 323):
        place = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
        data[place : place + 4] = struct.pack("<I", 46_336)
    with pytest.raises(TooLargeError, match="tiles of 46336×46336 pixels, which are larger than itself"):
        read(bytes(data))


def test_a_jpeg_of_endless_scans_is_refused(levels: Levels) -> None:
    """A progressive picture has about ten scans; one of thousands costs as many whole decodings, and is not begun."""
    data = encode(as_mode("L")(levels), "JPEG", progressive=True)
    assert 5 < data.count(b"\xff\xda") < 20
    read(data)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    with pytest.raises(TooLargeError, match="scans, and at most 100 are read"):
        read(data[:start] + scan * 200 + data[-2:])


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB")])
def test_lossy_formats_come_close(kind: str, mode: str, levels: Levels) -> None:
    """At a usual quality the levels are off by few in the mean."""
    assert np.abs(read(encode(as_mode(mode)(levels), kind, quality=90)) - levels).mean() < 3


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 90)])
def test_colours_become_luminance(colour: tuple[int, int, int]) -> None:
    """A colour's grey is 0.299 of red, 0.587 of green and 0.114 of blue (ITU-R BT.601)."""
    expected = np.dot(colour, (0.299, 0.587, 0.114))
    np.testing.assert_allclose(read(encode(Image.new("RGB", (9, 9), colour))), expected, atol=1)


def test_lightness_of_lab_is_read(levels: Levels) -> None:
    """A TIFF in CIELAB, which Pillow converts to nothing else, gives its lightness."""
    neutral = Image.new("L", levels.shape, 128)
    np.testing.assert_array_equal(
        read(encode(Image.merge("LAB", (Image.fromarray(levels), neutral, neutral)), "TIFF")), levels
    )


def test_grey_multiplied_by_its_opacity_is_read(levels: Levels) -> None:
    """A TIFF whose alpha is called associated, which Pillow has for nothing but plain grey, is like any other."""
    data = encode(Image.fromarray(levels).convert("LA"), "TIFF")
    unassociated, associated = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    assert data.count(unassociated) == 1
    np.testing.assert_array_equal(read(data.replace(unassociated, associated)), levels)


@pytest.mark.parametrize("low", [-3e38, -7.0, 0.0])
@pytest.mark.parametrize("high", [1e-40, 1e-3, 3e38, np.inf])
def test_floats_of_any_range_are_stretched(low: float, high: float, levels: Levels) -> None:
    """Floating-point pixels of unknown range, however wide or narrow or infinite, give black and white."""
    values = np.where(levels > 127, high, low).astype(np.float32)
    np.testing.assert_array_equal(read(encode(values, "TIFF")), np.where(levels > 127, 255, 0))


def test_floats_without_a_value_are_read_as_nothing() -> None:
    """Pixels that are no numbers count as zero, and so all of them are a blank picture."""
    assert not read_picture(encode(np.full((9, 9), np.nan, np.float32), "TIFF"), "mnist", MANY).digit.any()


UPRIGHT: dict[int, Callable[[Levels], Levels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: np.rot90,
}
"""What a viewer does to the stored pixels by their orientation in EXIF (tag 274), to show them upright."""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_is_undone(kind: str, orientation: int, levels: Levels) -> None:
    """Each of EXIF's eight orientations ends up as a viewer shows it."""
    stored = levels[:60]  # neither square nor symmetric
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    upright = read(encode(stored, kind, exif=exif, **options))
    assert upright.shape == UPRIGHT[orientation](stored).shape
    assert np.abs(upright - UPRIGHT[orientation](stored)).mean() < 2


@pytest.mark.parametrize("ink", [0, 255, 90])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_gives_way_to_contrast(kind: str, ink: int) -> None:
    """Ink on a transparent canvas looks the same, be it black, white or grey, and whatever colour hides behind it."""
    opaque = np.asarray(drawn(ground=0, ink=255))
    for hidden in (0, 255):
        luminance = np.where(opaque > 0, ink, hidden).astype(np.uint8)
        data = encode(
            np.dstack((*[luminance] * 3, opaque)), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})
        )
        seen = read_picture(data, "mnist", MANY).digit
        np.testing.assert_array_equal(seen, read_picture(encode(drawn()), "mnist", MANY).digit)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_gives_way(kind: str) -> None:
    """A palette may name a colour that is not there: white ink on it is read, though it hides white too."""
    indices = np.asarray(drawn(mode="P", ground=0, ink=1))
    picture = Image.fromarray(indices, "P")
    picture.putpalette([255, 255, 255, 250, 250, 250])
    seen = read_picture(encode(picture, kind, transparency=0), "mnist", MANY).digit
    np.testing.assert_allclose(seen.astype(int), read_picture(encode(drawn()), "mnist", MANY).digit, atol=3)


def test_a_wholly_transparent_picture_is_blank() -> None:
    """Nothing can be seen, so there is nothing, whatever colours hide behind."""
    hidden = np.dstack((*[np.asarray(drawn())] * 3, np.zeros((200, 300), np.uint8)))
    assert not read_picture(encode(hidden), "mnist", MANY).digit.any()


def test_the_first_frame_counts() -> None:
    """Of an animation the first picture is read."""
    frames = [drawn(), Image.new("L", (300, 200), 255)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(data), np.asarray(frames[0]))


def test_large_pictures_are_reduced_without_a_trace() -> None:
    """A picture of thousands of pixels a side is seen as a small one with the same content is."""
    small = np.asarray(drawn())
    seen = read_picture(encode(enlarged(small, 12)), "mnist", MANY).digit
    assert np.abs(seen - read_picture(encode(small), "mnist", MANY).digit.astype(int)).mean() < 1


@pytest.mark.parametrize(("width", "height"), [(8, 8), (100, 100), (8, 1250)])
def test_pictures_within_the_limits_are_read(width: int, height: int) -> None:
    """8 pixels a side are enough, and the largest number of pixels is not too many."""
    assert decode(open_picture(encode(Image.new("L", (width, height))), 10_000)).size == (width, height)


@pytest.mark.parametrize(("width", "height"), [(7, 8), (8, 7), (1, 1)])
def test_small_pictures_are_refused(width: int, height: int) -> None:
    """A side below 8 pixels is named with the limit."""
    with pytest.raises(
        MalformedError, match=rf"^the picture has {width}×{height} pixels, and at least 8×8 are needed$"
    ):
        open_picture(encode(Image.new("L", (width, height))), MANY)


def test_one_pixel_too_many_is_refused() -> None:
    """The limit is exact, and the message names it."""
    with pytest.raises(TooLargeError, match=r"^the picture has 73×137 pixels, and at most 10,000 are read$"):
        open_picture(encode(Image.new("L", (73, 137))), 10_000)


def png_header(width: int, height: int) -> bytes:
    """A PNG that has nothing but its header and the announcement of a gigabyte of pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 2**30) + b"IDAT"


BOMBS: dict[str, Callable[[int, int], bytes]] = {
    "PNG": png_header,
    "GIF": lambda width, height: (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b",\0\0\0\0"
        + struct.pack("<HHBB", width, height, 0, 2)
    ),
    "BMP": lambda width, height: (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("side", [4000, 12_000, 60_000])
def test_a_header_alone_tells_that_it_is_too_large(kind: str, side: int) -> None:
    """A bomb is refused by the size that it declares, at once, with no pixel decoded: here there is none to decode."""
    started = time.perf_counter()
    with pytest.raises(TooLargeError, match="10,000,000"):
        open_picture(BOMBS[kind](side, side), MANY)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello",
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        bytes(784),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    """The message lists the formats that are read."""
    with pytest.raises(
        NotAPictureError,
        match=r"^this is no picture in a format that is read here \(PNG, JPEG, WEBP, BMP, GIF, TIFF\)$",
    ):
        open_picture(data, MANY)


def test_numbers_of_colours_without_a_palette_are_refused() -> None:
    """A PNG that says that its pixels are numbers of colours and names no colour is damaged, though Pillow opens it."""
    data = bytearray(encode(Image.new("L", (28, 28))))
    data[25] = 3  # its colour type
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(NotAPictureError, match="it has no palette"):
        read_picture(bytes(data), "mnist", MANY)


def test_more_opacities_than_colours_are_refused() -> None:
    """A palette has 256 colours at most; a PNG with more opacities than that is damaged, though Pillow opens it."""
    data = encode(Image.new("P", (28, 28)), transparency=bytes(256))
    assert read_picture(data, "mnist", MANY)
    place = data.index(b"tRNS")
    content = b"tRNS" + bytes(257)
    longer = (257).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
    size = int.from_bytes(data[place - 4 : place], "big")
    with pytest.raises(NotAPictureError, match="more opacities than"):
        read_picture(data[: place - 4] + longer + data[place + 8 + size :], "mnist", MANY)


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "PCX"])
def test_other_formats_are_refused(kind: str) -> None:
    """Pillow reads more formats than are listed, and those are refused like anything else."""
    with pytest.raises(NotAPictureError):
        open_picture(encode(drawn(mode="RGB", ground="white", ink="black"), kind), MANY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("part", [0.4, 0.75])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    """Half a picture is no picture: nothing is guessed."""
    data = encode(drawn(mode="RGB", ground="white", ink="black"), kind)
    with pytest.raises(NotAPictureError):
        whole(data[: int(len(data) * part)])


FILES = [
    encode(as_mode(mode)(np.asarray(drawn().reduce(6))), kind)
    for kind, modes in {
        "PNG": ("1", "L", "P", "RGBA", "LA"),
        "JPEG": ("L", "RGB", "CMYK"),
        "WEBP": ("RGB", "RGBA"),
        "BMP": ("1", "P", "RGB"),
        "GIF": ("P",),
        "TIFF": ("1", "L", "P", "RGBA", "F", "I", "CMYK"),
    }.items()
    for mode in modes
]
never_but = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # Pillow's, about damage


@never_but
@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400), st.sampled_from(["mnist", "none"]))
def test_arbitrary_bytes_raise_only_our_errors(data: bytes, preprocess: Preprocess) -> None:
    """No sequence of bytes makes anything but a refusal."""
    with pytest.raises(RequestError):
        read_picture(data, preprocess, MANY)


@never_but
@settings(deadline=None, max_examples=250)
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=6),
    st.none() | st.integers(0, 2000),
)
def test_damaged_files_raise_only_our_errors(data: bytes, flips: list[tuple[int, int]], length: int | None) -> None:
    """A real file with bytes changed or cut off is either still a picture or refused: never another exception."""
    damaged = bytearray(data)
    for place, change in flips:
        damaged[place % len(damaged)] ^= change
    try:
        seen = read_picture(bytes(damaged[:length]), "mnist", 10**6).digit
    except RequestError:
        return
    assert seen.shape == (28, 28) and seen.dtype == np.uint8


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.randoms(use_true_random=False))
def test_prepared_digits_are_taken_byte_by_byte(count: int, random: Any) -> None:
    """784 bytes are a digit, row by row, unchanged."""
    data = random.randbytes(count * 784)
    digits = np.frombuffer(read_prepared(data, 9), np.uint8).reshape(count, 28, 28)
    assert [int(value) for digit in digits for row in digit for value in row] == list(data)


@pytest.mark.parametrize("length", [0, 1, 783, 785, 1567])
def test_prepared_digits_have_whole_digits(length: int) -> None:
    """Another number of bytes is named."""
    with pytest.raises(MalformedError, match=rf"784 bytes each, and {length:,} bytes are no multiple"):
        read_prepared(bytes(length), 9)


def test_too_many_prepared_digits_are_refused() -> None:
    """The limit is exact, and the message names it."""
    assert len(read_prepared(bytes(9 * 784), 9)) == 9 * 784
    with pytest.raises(TooLargeError, match=r"^the request has 10 digits, and at most 9 are taken at once$"):
        read_prepared(bytes(10 * 784), 9)
