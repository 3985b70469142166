"""A sheet: a drawing that grows downwards by sections, each with a heading and a legend of its colours."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.inside.channels import Channels
from service.painting.colour import DIVERGING, SEQUENTIAL, Values, paint
from service.painting.drawing import INK, Anchor, Colours, Drawing, Picture, Text

MARGIN = 16
GAP = 8
COLUMNS = 8  # tiles in a row
TILE = 84  # pixels of a tile's side: 3, 6 or 12 for each value of the network's maps
CAPTION = 14
HEADING = 44  # pixels of height, legend included
LABELS = 28  # pixels of width, of the numbers of rows
WIDTH = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
_LEGEND = 160  # pixels of width


class Span(NamedTuple):
    """The least and largest value that colours span, and whether values can be negative."""

    low: float
    high: float
    signed: bool

    @property
    def bound(self) -> float:
        """The value that has the last colour; if they are signed, the first one has its opposite."""
        return max(abs(self.low), abs(self.high)) if self.signed else self.high


def number(value: float, digits: int = 3) -> str:
    """A value in a few digits, with a minus that is one."""
    return f"{value:.{digits}g}".replace("-", "−")


def share(chosen: int, count: int) -> str:
    """How many of how many, where not all are chosen."""
    return f"{chosen} of {count}" if chosen < count else str(count)


def extremes(values: Values) -> str:
    """From which to which value, for a title."""
    return f"{number(float(values.min()))} to {number(float(values.max()))}"


class Sheet:
    """A drawing in the making. `title` says of what it is, and `top` where its next part begins, in pixels."""

    def __init__(self, title: str) -> None:
        self._drawing = Drawing(title, WIDTH, MARGIN)
        self.title = title
        self.top = MARGIN

    def finished(self) -> Drawing:
        """The drawing, as high as its parts."""
        self._drawing.height = self.top
        return self._drawing

    def text(self, x: int, y: int, words: str, *, ink: bool = False, anchor: Anchor = "start") -> None:
        """A line of text with its baseline at `y`, faint but for what is to be found at once."""
        text = Text(x, y, words, anchor=anchor)
        self._drawing.texts.append(text._replace(colour=INK) if ink else text)

    def heading(self, name: str, subtitle: str, *, signed: bool, ends: tuple[str, str]) -> None:
        """Name, subtitle, and a legend of the colours whose `ends` are the least and the largest value, as texts."""
        self._drawing.texts.append(Text(MARGIN, self.top + 14, name, 15, INK))
        self.text(MARGIN, self.top + 31, subtitle)
        left, palette = WIDTH - MARGIN - _LEGEND, DIVERGING if signed else SEQUENTIAL
        title = f"legend: colours from {ends[0]} to {ends[1]}"
        self._drawing.pictures.append(Picture(left, self.top + 4, _LEGEND, 10, palette[np.newaxis], title))
        for x, words, anchor in _ticks(left, ends, signed=signed):
            self.text(x, self.top + 27, words, anchor=anchor)
        self.top += HEADING

    def places(self, count: int) -> Iterator[tuple[int, int]]:
        """The places of so many tiles in rows, each with room for a caption; what follows begins below them."""
        top = self.top
        self.top += -(-count // COLUMNS) * (TILE + CAPTION + GAP)
        for index in range(count):
            row, column = divmod(index, COLUMNS)
            yield MARGIN + column * (TILE + GAP), top + row * (TILE + CAPTION + GAP)

    def caption(self, x: int, y: int, left: str, right: str = "", *, ink: bool = False) -> None:
        """Texts at both ends of the line below the tile at a place; `ink` is for the right one, if there is one."""
        self.text(x, y + TILE + 11, left)
        if right:
            self.text(x + TILE, y + TILE + 11, right, ink=ink, anchor="end")

    def tile(
        self, x: int, y: int, cell: int, values: Values, span: Span, title: str, beneath: Values | None = None
    ) -> None:
        """Values (height, width) as squares of `cell` pixels; `title` says which they are.

        `beneath`, of the same shape and from 0 to 1, is what is left of each colour's light.
        """
        colours = paint(values, span.low, span.high, signed=span.signed)
        if beneath is not None:
            colours = np.rint(colours * beneath[..., np.newaxis]).astype(np.uint8)
        self._picture(x, y, cell, colours, f"{title}: {extremes(values)}")

    def grey(self, x: int, y: int, cell: int, levels: NDArray[np.uint8], title: str) -> None:
        """Grey levels (height, width) as squares of `cell` pixels."""
        self._picture(x, y, cell, levels[..., np.newaxis].repeat(3, axis=2), title)

    def _picture(self, x: int, y: int, cell: int, colours: Colours, title: str) -> None:
        height, width = colours.shape[:2]
        self._drawing.pictures.append(Picture(x, y, width * cell, height * cell, colours, title))

    def strip(self, values: Values, numbers: Channels, cell: int, row: int, span: Span, name: str) -> None:
        """Values (n,) that have no places, `row` of them a row; each row is labelled by the number of its first one."""
        for start in range(0, len(values), row):
            part = values[start : start + row]
            first, last = numbers[start], numbers[start + len(part) - 1]
            self.tile(MARGIN + LABELS, self.top, cell, part[np.newaxis], span, f"{name}, values {first} to {last}")
            if cell > 10:  # pixels, which a number is high
                self.text(MARGIN + LABELS - 6, self.top + cell - 3, str(first), anchor="end")
            self.top += cell


def _ticks(left: int, ends: tuple[str, str], *, signed: bool) -> list[tuple[int, str, Anchor]]:
    if signed:
        return [(left, ends[0], "start"), (left + _LEGEND // 2, "0", "middle"), (left + _LEGEND, ends[1], "end")]
    return [(left, ends[0], "start"), (left + _LEGEND, ends[1], "end")]
