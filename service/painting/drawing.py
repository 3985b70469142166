"""A drawing as data: texts and pictures at their places, in pixels, which `png` and `svg` paint."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]
"""sRGB, (height, width, 3)."""
Anchor = Literal["start", "middle", "end"]

INK = "#202028"
FAINT = "#6b6b78"


class Text(NamedTuple):
    """One line of text. Its baseline is at `y`, and `anchor` says which part of it is at `x`."""

    x: int
    y: int
    words: str
    size: int = 11
    colour: str = FAINT
    anchor: Anchor = "start"


class Picture(NamedTuple):
    """Colours, each stretched to a rectangle with sharp edges; `title` says what they show, for whoever asks."""

    x: int
    y: int
    width: int
    height: int
    colours: Colours
    title: str


@dataclass
class Drawing:
    """What is on a white ground; `title` says of what it is."""

    title: str
    width: int
    height: int
    texts: list[Text] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
