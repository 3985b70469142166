"""Bytes of a picture → the 28×28 that the network sees, made as MNIST's own digits were made."""

import io
import math
import warnings
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from service.canonical import placed
from service.encoding import to_png, to_url
from service.errors import MalformedError, NotAPictureError, TooLargeError
from service.ink import drawn_on
from service.plain import plain_png
from service.segment import digits_of, is_several

Preprocess = Literal["mnist", "none"]
Grey = NDArray[np.float32]
Digit = NDArray[np.uint8]
Pixels = bytes
"""Digits as the network takes them: 784 bytes each, row by row, bright ink on black."""

# Pillow's own limit of pixels warns, and stops only at twice that; the one of `decode` is stricter. What else Pillow
# warns of is a flaw of a stranger's file, and no concern of whoever reads the log.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module="PIL")

BLANK = "blank"
SEVERAL = "several"
"""Why a picture as such is refused: there is no ink on it, or that of several digits."""


class Seen(NamedTuple):
    """What the network sees of a picture, uint8 (28, 28), and why the picture as such is refused, if it is.

    Of a blank picture all of it is 0; of several digits it is their ink together.
    """

    digit: Digit
    reason: str | None


class Found(NamedTuple):
    """One digit of several: its box in the upright picture's own pixels, as left, top, width, height."""

    box: tuple[int, int, int, int]
    digit: Digit


SIDE = 28  # pixels along each side of what the network sees
PIXELS = SIDE * SIDE
SMALL = 64 * 64  # pixels: a picture so small is decoded at once
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_DEEP = ("I", "F")  # Pillow's modes of more than 8 bits: I;16 and its kin, I of 32 bits, F of real numbers
_LARGEST_TILE = 1024**2  # pixels of a TIFF's tile, where the picture is smaller
_TILE_STEP = 16  # pixels: both sides of a tile are multiples of it
_MOST_COLOURS = 256  # of a palette
_SCAN = b"\xff\xda"  # begins a scan of a JPEG, and stands nowhere else in its data
_MOST_SCANS = 100  # a progressive one has about ten
_TELLING = ("PNG", "BMP", "GIF")
_METADATA = frozenset(("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"))
_SMALLEST = 8  # pixels along each side of a picture
_DETAIL = 1024  # pixels along the longest side: still 20 along a digit of a fiftieth of that
_FAINTEST = 12  # grey levels: with less contrast than that, a picture is blank


def open_picture(data: bytes, max_pixels: int) -> Image.Image:
    """A picture whose header alone has been read, or a small one; its format is recognised by content.

    Raises:
        NotAPictureError: it is none of `FORMATS`, or damaged.
        TooLargeError: it has more than `max_pixels` pixels, or hides more work than those.
        MalformedError: it is smaller than 8×8.
    """
    # Past Pillow's search and its reading of chunks, which took more than half of the time of a digit's decoding.
    if (plain := plain_png(data, _SMALLEST, min(max_pixels, SMALL))) is not None:
        return plain
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise NotAPictureError(f"this is no picture in a format that is read here ({', '.join(FORMATS)})") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them raise
        raise NotAPictureError("the picture is damaged and cannot be decoded") from error
    width, height = picture.size
    if width * height > max_pixels:
        raise TooLargeError(f"the picture has {width}×{height} pixels, and at most {max_pixels:,} are read")
    _refuse_hidden_work(picture, data)
    if width < _SMALLEST or height < _SMALLEST:
        raise MalformedError(f"the picture has {width}×{height} pixels, and at least 8×8 are needed")
    return picture


def _refuse_hidden_work(picture: Image.Image, data: bytes) -> None:
    """Refuses a picture that costs far more than its size tells: whole tiles and every scan are decoded.

    Raises:
        TooLargeError: a TIFF's tile is larger than the picture and than any in use, or a JPEG has too many scans.
    """
    if isinstance(picture, TiffImageFile):
        tile = [int(picture.tag_v2.get(tag, 0)) for tag in (TILEWIDTH, TILELENGTH)]
        covering = [-(-side // _TILE_STEP) * _TILE_STEP for side in picture.size]
        if tile[0] * tile[1] > max(_LARGEST_TILE, covering[0] * covering[1]):
            raise TooLargeError(f"the picture has tiles of {tile[0]}×{tile[1]} pixels, which are larger than itself")
    elif isinstance(picture, JpegImageFile) and (scans := data.count(_SCAN)) > _MOST_SCANS:
        raise TooLargeError(f"the picture has {scans:,} scans, and at most {_MOST_SCANS} are read")


def decode(picture: Image.Image) -> Image.Image:
    """The first frame of an open picture, upright, in full.

    Raises:
        NotAPictureError: it is damaged.
    """
    whole = _loaded(picture)
    if whole.mode == "P":  # what Pillow lets pass until it is asked for a colour
        if whole.palette is None:
            raise NotAPictureError("the picture is damaged: its pixels are numbers of colours, and it has no palette")
        opacities = whole.info.get("transparency")
        if isinstance(opacities, bytes) and len(opacities) > _MOST_COLOURS:
            raise NotAPictureError("the picture is damaged: it has more opacities than a palette has colours")
    return whole


def _loaded(picture: Image.Image) -> Image.Image:
    try:
        picture.load()
        # Looking for an orientation takes as long as decoding a digit; these formats tell beforehand if there is one.
        if picture.format in _TELLING and _METADATA.isdisjoint(picture.info):
            return picture
        upright = ImageOps.exif_transpose(picture)
        # Pillow converts grey that is multiplied by its opacity, as TIFF may have it, to nothing but plain grey.
        return upright.convert("LA") if upright.mode == "La" else upright
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them raise
        raise NotAPictureError("the picture is damaged and cannot be decoded") from error


def grey_levels(picture: Image.Image) -> Grey:
    """The picture's luminance, float32 (height, width), 0–255; transparency gives way to the ink's opposite.

    A large picture is averaged over blocks of pixels, so that what follows costs the same for all.
    """
    if picture.mode.startswith(_DEEP):
        values = np.nan_to_num(np.asarray(picture, np.float32))
        return _stretched(np.nan_to_num(np.asarray(_reduced(Image.fromarray(values)), np.float64)))
    if picture.mode == "LAB":
        picture = picture.getchannel("L")  # which is lightness already, and Pillow converts it to nothing else
    if picture.has_transparency_data:
        values = np.asarray(_reduced(picture.convert("RGBA")).convert("LA"), np.float32)
        luminance, opacity = values[..., 0], values[..., 1] / 255
        covered = opacity.sum()
        # What was drawn on a transparent canvas is the ink, whatever its colour, so what shows through is made to
        # contrast with it.
        ink = (luminance * opacity).sum() / covered if covered else 0.0
        ground = 0.0 if ink > 127.5 else 255.0
        return (luminance * opacity + ground * (1 - opacity)).astype(np.float32)
    if picture.mode != "L":
        picture = picture.convert("L")
    return _levels(_reduced(picture))


def _levels(picture: Image.Image) -> Grey:
    """The levels of a picture that has 8 bits of grey; NumPy's own way to them takes a quarter longer."""
    levels = np.frombuffer(picture.tobytes(), np.uint8).astype(np.float32)
    return levels.reshape(picture.height, picture.width)


def _reduced(picture: Image.Image) -> Image.Image:
    """The picture averaged over whole blocks of pixels until it has no more detail than can matter to 28×28."""
    factor = max(picture.size) // _DETAIL
    return picture.reduce(factor) if factor > 1 else picture


def _stretched(values: NDArray[np.float64]) -> Grey:
    """Deep values from their least to their largest onto 0–255: cameras seldom use all the bits that a file has.

    Where they hardly differ, that would make noise of a blank picture, and all become 0.
    """
    low, high = float(values.min()), float(values.max())
    if high - low < _FAINTEST / 255 * max(abs(low), abs(high)) or high == low:
        return np.zeros(values.shape, np.float32)
    return ((values - low) * (255 / (high - low))).astype(np.float32)


def canonical(grey: Grey) -> Digit:
    """The digit as MNIST would hold it, uint8 (28, 28), of grey levels (height, width) of either polarity.

    A picture without ink gives a black image.
    """
    drawn = drawn_on(grey)
    return _nothing() if drawn is None else placed(drawn.ink)


def _nothing() -> Digit:
    return np.zeros((SIDE, SIDE), np.uint8)


def as_is(picture: Image.Image) -> Digit:
    """A 28×28 picture as uint8 (28, 28), unchanged: bright ink on black.

    Raises:
        MalformedError: it has another size, or numbers that are no grey levels.
    """
    if picture.size != (SIDE, SIDE):
        width, height = picture.size
        raise MalformedError(f"preprocess=none takes 28×28 pixels as they are, and this picture has {width}×{height}")
    if picture.mode in ("I", "F"):
        raise MalformedError("preprocess=none takes pixels of 8 or 16 bits as they are, not 32-bit or real numbers")
    if picture.mode.startswith("I;16"):
        return np.rint(np.asarray(picture, np.float32) / 257).astype(np.uint8)
    return np.rint(grey_levels(picture)).astype(np.uint8)


def seen_by_network(picture: Image.Image, preprocess: Preprocess) -> Seen:
    """What the network sees of an open picture.

    Raises:
        RequestError: what `decode` and `as_is` raise.
    """
    whole = decode(picture)
    if preprocess == "none":
        return Seen(as_is(whole), None)
    drawn = drawn_on(grey_levels(whole))
    if drawn is None:
        return Seen(_nothing(), BLANK)
    return Seen(placed(drawn.ink), SEVERAL if is_several(drawn.parts) else None)


def read_picture(data: bytes, preprocess: Preprocess, max_pixels: int) -> Seen:
    """The bytes of a picture → what the network sees.

    Raises:
        RequestError: what `open_picture` and `seen_by_network` raise.
    """
    return seen_by_network(open_picture(data, max_pixels), preprocess)


def find_digits(data: bytes, max_pixels: int) -> list[Found]:
    """The digits in a picture, left to right and line by line; none in a blank one.

    Raises:
        RequestError: what `open_picture` and `decode` raise.
    """
    whole = decode(open_picture(data, max_pixels))
    drawn = drawn_on(grey_levels(whole))
    if drawn is None:
        return []
    height, width = drawn.ink.shape
    return [
        Found(_enlarged(place[:4], whole.width / width, whole.height / height), placed(ink))
        for place, ink in digits_of(drawn)
    ]


def _enlarged(box: tuple[int, int, int, int], across: float, along: float) -> tuple[int, int, int, int]:
    """A box in pixels that are larger by two factors, all of it covered."""
    left, top, width, height = box
    x, y = math.floor(left * across), math.floor(top * along)
    return x, y, math.ceil((left + width) * across) - x, math.ceil((top + height) * along) - y


def read_prepared(data: bytes, max_images: int) -> Pixels:
    """Prepared digits, which are taken as they are.

    Raises:
        MalformedError: the length is no multiple of 784, or 0.
        TooLargeError: there are more than `max_images`.
    """
    count, rest = divmod(len(data), PIXELS)
    if rest or not count:
        raise MalformedError(
            f"application/octet-stream holds prepared digits of 784 bytes each, and {len(data):,} bytes are no "
            "multiple of that (a picture file needs its own type, such as image/png)"
        )
    if count > max_images:
        raise TooLargeError(f"the request has {count} digits, and at most {max_images} are taken at once")
    return data


def as_images(pixels: Pixels | memoryview) -> NDArray[np.uint8]:
    """The digits as the engine takes them, (n, 1, 28, 28), without a copy."""
    return np.frombuffer(pixels, np.uint8).reshape(-1, 1, SIDE, SIDE)


def as_png_url(pixels: Pixels) -> str:
    """What the network saw, one digit, as a greyscale PNG in a data URL."""
    return to_url(to_png(as_images(pixels)[0, 0]))
