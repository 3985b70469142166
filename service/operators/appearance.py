"""How the values of an operator are shown: as grey levels or as signed colours."""

from typing import Literal, NamedTuple

import numpy as np

from service.encoding import to_png
from service.painting.colour import Values, paint

Show = Literal["grey", "range", "signed", "magnitude"]

SHOWS: dict[Show, str] = {
    "grey": "0 is black and 1 white, and what is beyond is cut off",
    "range": "the smallest value is black and the largest white",
    "signed": "negative values are blue and positive ones orange, the stronger the further from 0, which is near white",
    "magnitude": "0 is black, and the value furthest from it white, whatever its sign",
}


class Appearance(NamedTuple):
    """How values are shown: which way, and over which of them its colours run, from `low` to `high`."""

    show: Show
    low: float
    high: float


def usual(bounds: tuple[float, float], *, keeps_brightness: bool) -> Show:
    """The way that suits values within bounds: grey for pictures, colours for signs, else the range.

    `keeps_brightness` says that they are a picture all the same, which goes beyond 0 and 1 at edges alone.
    """
    low, high = bounds
    if keeps_brightness or (low >= 0 and high <= 1):
        return "grey"
    return "signed" if low < 0 else "range"


def appearance_of(values: Values, show: Show) -> Appearance:
    """The appearance of values (height, width) that are shown that way."""
    low, high = float(values.min()), float(values.max())
    furthest = max(abs(low), abs(high))
    spans = {"grey": (0.0, 1.0), "range": (low, high), "signed": (-furthest, furthest), "magnitude": (0.0, furthest)}
    return Appearance(show, *spans[show])


def draw(values: Values, appearance: Appearance) -> bytes:
    """Values (height, width) as a PNG of a pixel each, in grey or, if signed, in RGB."""
    if appearance.show == "signed":
        pixels = paint(values, appearance.low, appearance.high, signed=True)
    else:
        shown = np.abs(values) if appearance.show == "magnitude" else values
        share = (shown - np.float32(appearance.low)) / np.float32(appearance.high - appearance.low or 1)
        pixels = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return to_png(pixels)
