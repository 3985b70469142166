"""A picture of feature maps: each layer a labelled grid of its maps, with a legend of its colours.

Its texts keep to what the font that Pillow brings along can draw, which has no multiplication or minus sign.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.colour import DIVERGING, SEQUENTIAL, paint
from service.features import Activations, Range, Scale, as_maps, ranges
from service.layer import Layer

_COLUMNS = 8  # maps in a row
_TILE = 84  # pixels of a map's side: 3, 6 or 12 for each value of the network's sizes
_CELL = 12  # pixels of a value's side in a linear layer, which has no maps
_GAP = 8
_MARGIN = 16
_TITLE = 44  # pixels of height, legend included
_CAPTION = 14
_WIDTH = 2 * _MARGIN + _COLUMNS * (_TILE + _GAP) - _GAP
_INK = (32, 32, 40)
_FAINT = (112, 112, 124)
_LEGEND = 160  # pixels of width


def draw_sheet(layers: Sequence[Layer], activations: Mapping[str, Activations], scale: Scale) -> bytes:
    """The maps of one image as a PNG. `activations` has each layer's values by name, (*shape of the layer)."""
    maps = {layer.name: as_maps(activations[layer.name]) for layer in layers}
    spans = ranges(maps, scale)
    heights = [_section_height(maps[layer.name]) for layer in layers]
    sheet = Image.new("RGB", (_WIDTH, _MARGIN + sum(heights)), "white")
    top = _MARGIN
    for layer, height in zip(layers, heights, strict=True):
        _Section(sheet, top).draw(layer, maps[layer.name], spans[layer.name], scale)
        top += height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _section_height(maps: Activations) -> int:
    if len(maps) == 1:
        return _TITLE + int(maps.shape[1]) * _cell(maps) + _MARGIN
    return _TITLE + -(-len(maps) // _COLUMNS) * (_TILE + _CAPTION + _GAP) + _MARGIN


def _cell(maps: Activations) -> int:
    """Pixels of one value's side, a whole number so that each value is a square."""
    return _CELL if len(maps) == 1 else max(1, _TILE // int(maps.shape[2]))


class _Section:
    """One layer's part of the sheet."""

    def __init__(self, sheet: Image.Image, top: int) -> None:
        self._sheet = sheet
        self._draw = ImageDraw.Draw(sheet)
        self._top = top
        self._large = ImageFont.load_default(15)
        self._small = ImageFont.load_default(11)

    def draw(self, layer: Layer, maps: Activations, spans: Sequence[Range], scale: Scale) -> None:
        self._title(layer, maps)
        self._legend(layer, spans, scale)
        top = self._top + _TITLE
        cell = _cell(maps)
        for index, (values, (low, high)) in enumerate(zip(maps, spans, strict=True)):
            row, column = divmod(index, _COLUMNS)
            place = _MARGIN + column * (_TILE + _GAP), top + row * (_TILE + _CAPTION + _GAP)
            colours = paint(values, low, high, signed=layer.signed).repeat(cell, axis=0).repeat(cell, axis=1)
            self._sheet.paste(Image.fromarray(colours), place)
            if len(maps) > 1:
                caption = f"{index}: to {max(abs(low), abs(high)):.2g}" if scale == "map" else str(index)
                self._draw.text((place[0], place[1] + _TILE + 2), caption, _FAINT, self._small)

    def _title(self, layer: Layer, maps: Activations) -> None:
        what = {"Conv": "convolution with BatchNorm folded in", "Relu": "ReLU", "MaxPool": "max pooling"}
        size = f"{len(maps)} maps of {maps.shape[2]}x{maps.shape[1]}"
        if len(layer.shape) == 1:
            size = f"{layer.shape[0]} values, {maps.shape[2]} a row"
        self._draw.text((_MARGIN, self._top), layer.name, _INK, self._large)
        subtitle = f"{what.get(layer.operator, 'linear')} · {size}"
        self._draw.text((_MARGIN, self._top + 20), subtitle, _FAINT, self._small)

    def _legend(self, layer: Layer, spans: Sequence[Range], scale: Scale) -> None:
        left, top = _WIDTH - _MARGIN - _LEGEND, self._top + 4
        palette = DIVERGING if layer.signed else SEQUENTIAL
        bar = palette[np.linspace(0, len(palette) - 1, _LEGEND).astype(np.intp)]
        self._sheet.paste(Image.fromarray(np.broadcast_to(bar, (10, _LEGEND, 3)).copy()), (left, top))
        bound = max(max(-low, high) if layer.signed else high for low, high in spans)  # as `paint` has it
        largest = "each map's largest" if scale == "map" else f"{bound:.3g}"
        ends = (f"-{largest}" if scale != "map" else "", "0", largest) if layer.signed else ("0", "", largest)
        places = ((left, "la"), (left + _LEGEND // 2, "ma"), (left + _LEGEND, "ra"))
        for text, (x, anchor) in zip(ends, places, strict=True):
            self._draw.text((x, top + 13), text, _FAINT, self._small, anchor=anchor)
