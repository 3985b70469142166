"""A picture of signed maps over the digit that they are of, with a legend of their colours.

Its texts keep to what the font that Pillow brings along can draw, which has no multiplication or minus sign.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.painting.colour import DIVERGING, paint

_SINGLE = 14  # pixels of a value's side in the only map
_SEVERAL = 6  # and where there are several, so that five fit side by side
_COLUMNS = 5
_GAP = 10
_MARGIN = 16
_LINE = 16  # pixels of a line of text
_TITLE = 24
_CAPTION = 18
_LEGEND = 44
_BAR = 10
_WIDTH = 2 * _MARGIN + _COLUMNS * (28 * _SEVERAL + _GAP) - _GAP
_SHADE = 0.22  # of the ink beneath the colours
_INK = (32, 32, 40)
_FAINT = (98, 98, 110)
_FRAME = (222, 222, 228)

Map = NDArray[np.float32]


def draw_overlay(
    digit: NDArray[np.uint8], maps: Mapping[str, Map], title: str, lines: Sequence[str], ends: tuple[str, str, str]
) -> bytes:
    """The maps by caption, each (28, 28), over the digit, uint8 (28, 28), as a PNG.

    All have one scale, over ± the largest magnitude of them all; `ends` are the legend's texts for its least, middle
    and largest value. The captions are drawn where there are several maps.
    """
    bound = max(float(np.abs(values).max()) for values in maps.values())
    several = len(maps) > 1
    cell = _SEVERAL if several else _SINGLE
    side = len(digit) * cell
    width = _WIDTH if several else 2 * _MARGIN + side
    rows = -(-len(maps) // _COLUMNS)
    top = _MARGIN + _TITLE + _LINE * len(lines) + 8
    height = top + rows * (side + _GAP + _CAPTION * several) + _LEGEND
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    small = ImageFont.load_default(12)
    draw.text((_MARGIN, _MARGIN), title, _INK, ImageFont.load_default(16))
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + _TITLE + _LINE * number), line, _FAINT, small)
    for number, (caption, values) in enumerate(maps.items()):
        row, column = divmod(number, _COLUMNS)
        x, y = _MARGIN + column * (side + _GAP), top + row * (side + _GAP + _CAPTION)
        colours = _over(digit, paint(values, -bound, bound, signed=True)).repeat(cell, axis=0).repeat(cell, axis=1)
        sheet.paste(Image.fromarray(colours), (x, y))
        draw.rectangle((x - 1, y - 1, x + side, y + side), outline=_FRAME)
        if several:
            draw.text((x, y + side + 3), caption, _FAINT, small)
    bar = DIVERGING[np.linspace(0, len(DIVERGING) - 1, width - 2 * _MARGIN).astype(np.intp)]
    sheet.paste(Image.fromarray(np.tile(bar, (_BAR, 1, 1))), (_MARGIN, height - _LEGEND))
    for text, x, anchor in zip(ends, (_MARGIN, width // 2, width - _MARGIN), ("la", "ma", "ra"), strict=True):
        draw.text((x, height - _LEGEND + _BAR + 4), text, _FAINT, small, anchor=anchor)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _over(digit: NDArray[np.uint8], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colours (28, 28, 3) darkened where the digit has ink."""
    light = 1 - _SHADE * digit[..., None] / np.float32(255)
    darkened: NDArray[np.uint8] = np.rint(colours * light).astype(np.uint8)
    return darkened
