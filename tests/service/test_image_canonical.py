"""Grey levels → the digit as MNIST would hold it: polarity, box, area averaging, centre of mass."""

import base64
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import center_of_mass

from service.errors import MalformedError
from service.image import as_png_url, canonical, read_picture
from tests.conftest import Mnist
from tests.service.pictures import SEVEN, UPRIGHT, drawn, encode, enlarged

MANY = 10**7  # pixels
Levels = NDArray[np.uint8]


def seen(picture: Image.Image | Levels) -> NDArray[np.int64]:
    """What the network sees of a picture, sent as a PNG."""
    return read_picture(encode(picture), "mnist", MANY).digit.astype(np.int64)


def box(digit: NDArray[np.int64], level: float = 25.5) -> tuple[int, int]:
    """Height and width of the ink that is stronger than a level, which is a tenth where none is given."""
    rows, columns = (np.flatnonzero((digit > level).any(axis=axis)) for axis in (1, 0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


@settings(deadline=None, max_examples=60)
@given(
    first=st.integers(0, 499),
    factor=st.integers(1, 12),
    padding=st.tuples(*[st.integers(0, 60)] * 4),
    ground=st.integers(0, 120),
    inverted=st.booleans(),
)
def test_what_mnist_made_comes_out_as_it_was(
    mnist: Mnist, first: int, factor: int, padding: tuple[int, int, int, int], ground: int, inverted: bool
) -> None:
    """MNIST's own digits survive being enlarged, moved, inverted, and put on a ground that is not quite black.

    All but one in a hundred: with a speck, with strokes thinner or fatter than nearly all, or with a centre of mass
    in the middle between two pixels. Of all 10,000, enlarged by 3, that were 76.
    """
    top, bottom, left, right = padding
    differences = []
    for digit in mnist.images[first::500]:
        picture = np.pad(enlarged(digit, factor), ((top, bottom), (left, right)))
        picture = np.rint(ground + picture * ((255 - ground) / 255)).astype(np.uint8)
        differences.append(np.abs(seen(255 - picture if inverted else picture) - digit).mean())
    assert sum(difference >= 1.5 for difference in differences) <= 3, differences


def test_moving_a_digit_changes_nothing(mnist: Mnist) -> None:
    """However far a digit is from the edges of its picture, the network sees the very same."""
    for digit in mnist.images[:100]:
        moved = np.pad(digit, ((13, 2), (0, 31)))
        np.testing.assert_array_equal(seen(moved), seen(digit))


@settings(deadline=None, max_examples=40)
@given(number=st.integers(0, 9_999), factor=st.floats(0.9, 9), turn=st.integers(0, 3))
def test_ink_is_centred_by_its_mass(mnist: Mnist, number: int, factor: float, turn: int) -> None:
    """SciPy finds the centre of mass at 14 in both directions, as near as whole pixels allow."""
    side = round(28 * factor)
    picture = Image.fromarray(np.rot90(mnist.images[number], turn)).resize((side, side), Image.Resampling.BICUBIC)
    assert np.abs(np.array(center_of_mass(seen(picture))) - 14).max() < 0.55


@settings(deadline=None, max_examples=40)
@given(width=st.integers(12, 400), height=st.integers(12, 400), polarity=st.booleans())
def test_the_longest_side_becomes_20_pixels(width: int, height: int, polarity: bool) -> None:
    """A full box of any size and shape has 20 pixels along its longest side, and its proportions if it is no hair.

    Its pixels are those that are more than half covered; around them stands a faint fringe.
    """
    picture = np.full((height + 20, width + 20), 255 * polarity, np.uint8)
    picture[10:-10, 10:-10] = 255 * (not polarity)
    expected = np.maximum(20 * np.array([height, width]) / max(height, width), 1.8)  # a hair is made a stroke
    assert np.abs(np.array(box(seen(picture), 127)) - expected).max() <= 1.5


@pytest.mark.parametrize("strokes", [SEVEN, UPRIGHT])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_polarity_makes_no_difference(strokes: tuple[tuple[float, ...], ...], mode: str) -> None:
    """Black on white and white on black are seen alike, bright ink on black."""
    white = "white" if mode == "RGB" else 255
    dark = seen(drawn(strokes, mode=mode, ground=white, ink=0))
    np.testing.assert_array_equal(dark, seen(drawn(strokes, mode=mode, ground=0, ink=white)))
    assert dark[0].max() == 0 and dark.max() == 255


def test_colours_of_equal_greyness_differ_as_their_contrast() -> None:
    """Dark blue on yellow and yellow on dark blue, whose greys are far apart, are seen as black and white are."""
    expected = seen(drawn())
    for ground, ink in (("navy", "yellow"), ("yellow", "navy")):
        np.testing.assert_allclose(seen(drawn(mode="RGB", ground=ground, ink=ink)), expected, atol=1)


def test_grey_edges_stay_grey() -> None:
    """Averaging over areas gives half-covered pixels their share; nothing is made black and white."""
    digit = seen(drawn())
    assert ((digit > 40) & (digit < 215)).sum() > 15


def test_a_slanted_edge_is_averaged_over_areas() -> None:
    """The grey of a disc's outline is the share of each pixel that it covers, as a fine grid counts it."""
    yy, xx = np.mgrid[:800, :800] + 0.5
    disc = (yy - 400) ** 2 + (xx - 400) ** 2 <= 300**2
    share = disc[100:700, 100:700].reshape(20, 30, 20, 30).mean(axis=(1, 3)) * 255
    small = seen(np.where(disc, 0, 255).astype(np.uint8))[4:24, 4:24]
    assert np.abs(small - share).mean() < 4


@settings(deadline=None, max_examples=40)
@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    width=st.integers(8, 90),
    height=st.integers(8, 90),
    mode=st.sampled_from(["1", "L", "RGB", "RGBA", "LA", "P"]),
)
def test_blank_pictures_are_black(colour: tuple[int, int, int], width: int, height: int, mode: str) -> None:
    """A picture of one colour, whichever, holds no ink: every pixel that the network sees is 0."""
    picture = Image.new("RGB", (width, height), colour).convert(mode, dither=Image.Dither.NONE)
    assert not seen(picture).any()


def test_hardly_any_contrast_is_blank() -> None:
    """The noise of an empty sheet is not blown up into ink."""
    noise = np.random.default_rng(3).integers(200, 206, (90, 90), np.uint8)
    assert not seen(noise).any()


@settings(deadline=None, max_examples=30)
@given(side=st.integers(8, 40), size=st.integers(1, 6), place=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_dot_of_a_few_pixels_is_enlarged(side: int, size: int, place: tuple[float, float]) -> None:
    """The smallest ink anywhere, even in a corner, fills the 20×20 box."""
    picture = np.zeros((side, side), np.uint8)
    top, left = (round(part * (side - size)) for part in place)
    picture[top : top + size, left : left + size] = 200
    if np.median(np.concatenate((picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]))) == 0:
        assert np.abs(np.array(box(seen(picture))) - 20).max() <= 3


@settings(deadline=None, max_examples=60)
@given(arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40))))
def test_any_picture_gives_a_digit(levels: Levels) -> None:
    """Whatever the pixels, the result has 28×28 levels, and its strongest ink is white unless it is blank."""
    digit = canonical(levels.astype(np.float32))
    assert digit.shape == (28, 28) and digit.dtype == np.uint8
    assert digit.max() in (0, 254, 255)


def test_traces_of_jpeg_do_not_widen_the_box() -> None:
    """What JPEG leaves around strokes, and the dust of a scan, do not make the digit smaller."""
    clean = box(seen(drawn()))
    assert box(read_picture(encode(drawn(), "JPEG", quality=10), "mnist", MANY).digit.astype(np.int64)) == clean
    dusty = np.array(drawn())
    dusty[5::40, 5::40] = 240
    assert box(seen(dusty)) == clean


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, (28, 28)), st.sampled_from(["PNG", "BMP", "TIFF"]))
def test_none_takes_pixels_as_they_are(levels: Levels, kind: str) -> None:
    """Without preprocessing every pixel arrives unchanged."""
    np.testing.assert_array_equal(read_picture(encode(levels, kind), "none", MANY).digit, levels)


@pytest.mark.parametrize(("width", "height"), [(27, 28), (28, 29), (280, 280)])
def test_none_takes_only_28_by_28(width: int, height: int) -> None:
    """Another size is refused by a sentence with both sizes."""
    with pytest.raises(
        MalformedError,
        match=rf"^preprocess=none takes 28×28 pixels as they are, and this picture has {width}×{height}$",
    ):
        read_picture(encode(Image.new("L", (width, height))), "none", MANY)


def test_what_was_seen_is_shown_exactly(mnist: Mnist) -> None:
    """The PNG of what the network saw, in a data URL, holds those very levels."""
    for digit in (mnist.images[3], canonical(mnist.images[3].astype(np.float32))):
        kind, _, content = as_png_url(digit.tobytes()).partition(",")
        assert kind == "data:image/png;base64"
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), digit)


@pytest.mark.parametrize("size", [(60_000, 8), (8, 60_000), (2_000_000, 8)])
def test_a_thin_picture_costs_no_more_than_another(size: tuple[int, int]) -> None:
    """However long, it is read within a few of its own sizes of memory: padding it to a square would take gigabytes."""
    width, height = size
    picture = np.full((min(size), max(size)), 255, np.uint8)
    picture[3:5, max(size) // 4 : max(size) // 2] = 0
    data = encode(picture if width > height else picture.T.copy())
    tracemalloc.start()
    digit = read_picture(data, "mnist", 2 * MANY).digit
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
    assert max(box(digit.astype(np.int64))) == 20


def test_small_ink_loses_no_edge() -> None:
    """Ink that is enlarged has no faint fringe, so none of its twenty rows may fall outside, wherever its mass is."""
    for heavy_end in (False, True):
        picture = np.zeros((16, 16), np.uint8)
        picture[4:12, 7:9] = 60
        picture[slice(10, 12) if heavy_end else slice(4, 6), 5:11] = 255
        assert box(seen(picture))[0] == 20


def test_deep_pictures_use_the_range_that_they_have(mnist: Mnist) -> None:
    """Ten bits of content in a file of sixteen, and real numbers of any range, are the same digit as eight bits."""
    for digit in mnist.images[:20]:
        large = enlarged(digit, 4)
        expected = seen(large)
        for deep, kind in ((large.astype(np.uint16) * 4, "TIFF"), (large.astype(np.float32) * 7 - 300, "TIFF")):
            found = read_picture(encode(Image.fromarray(deep), kind), "mnist", MANY).digit.astype(np.int64)
            assert np.abs(found - expected).max() <= 1


def test_deep_pictures_that_hardly_differ_are_blank() -> None:
    """Noise of a camera in the dark, or of a white wall, does not become a digit."""
    noise = np.random.default_rng(0).integers(0, 500, (60, 60))
    wall = Image.fromarray((40_000 + noise).astype(np.uint16))
    assert not read_picture(encode(wall, "TIFF"), "mnist", MANY).digit.any()


def test_preprocess_none_takes_no_numbers_without_grey_levels() -> None:
    """Pixels of 16 bits have grey levels to take as they are; real numbers do not, and are refused with the reason."""
    levels = np.arange(784, dtype=np.uint16).reshape(28, 28) * 83
    found = read_picture(encode(Image.fromarray(levels), "TIFF"), "none", MANY).digit
    np.testing.assert_array_equal(found, np.rint(levels / 257))
    with pytest.raises(MalformedError, match="8 or 16 bits"):
        read_picture(encode(Image.fromarray(levels.astype(np.float32)), "TIFF"), "none", MANY)
