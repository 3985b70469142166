"""A sheet of kernels: weights as signed maps, zero near white, over the range of the whole layer."""

from collections.abc import Mapping

import numpy as np

from service.engine import Activations
from service.errors import MalformedError
from service.inside.kernels import Kernels
from service.painting.drawing import Drawing
from service.painting.sheet import COLUMNS, GAP, LABELS, MARGIN, TILE, WIDTH, Sheet, Span, number, share

_UNITS = 10  # of a linear layer, each with as many weights as the layer before has values
_CELL = 5  # pixels of a weight's side in a map of a unit
_DENSE, _ROW = 7, 100  # pixels of a weight's side, and weights in a row, of a unit whose weights have no places
_BLOCKS = 2  # side by side, of a convolution of many outputs
_HEADER = 18  # pixels of height, of the numbers above columns
_FOLDED = {
    "BatchNorm": "weights with BatchNorm folded in",
    "temperature": "weights with the calibration's temperature divided in",
    None: "weights",
}


def check_drawable(kernels: Kernels) -> None:
    """Checks that a sheet can hold the kernels.

    Raises:
        MalformedError: there are too many units of a linear layer.
    """
    count = len(kernels.channels)
    if len(kernels.layer.shape) == 1 and count > _UNITS:
        raise MalformedError(
            f"a picture shows at most {_UNITS} units of {kernels.layer.name}, and {count} are asked for; channels=0-9 "
            "picks ten, and format=json, npy or npz holds all"
        )


def draw_kernels(kernels: Kernels, parameters: Mapping[str, Activations]) -> Drawing:
    """The kernels' weights as pictures: of a convolution one for each output and input, of a linear layer a unit's.

    A unit's weights over maps are maps of the same places, and others stand in rows.
    """
    every = parameters[f"{kernels.layer.name}.weight"]
    span = Span(float(every.min()), float(every.max()), signed=True)
    sheet = Sheet(f"Kernels of {kernels.layer.name}")
    part = _Kernels(sheet, kernels, kernels.of(parameters), span)
    part.heading()
    if len(kernels.layer.shape) == 1:
        part.units()
    elif kernels.inputs[0] == 1:
        part.tiles()
    else:
        part.matrix()
    sheet.top += MARGIN
    return sheet.finished()


class _Kernels:
    """The kernels' sheet in the making."""

    def __init__(self, sheet: Sheet, kernels: Kernels, arrays: Mapping[str, Activations], span: Span) -> None:
        self._sheet = sheet
        self._kernels = kernels
        self._name = kernels.layer.name
        self._weight, self._bias = arrays["weight"], arrays["bias"]
        self._span = span

    def heading(self) -> None:
        """What the kernels are, in words."""
        bound = number(self._span.bound)
        kernels = self._kernels
        of = share(len(kernels.channels), kernels.layer.shape[0])
        size = "×".join(map(str, kernels.inputs))
        if len(kernels.layer.shape) == 1:
            what = f"{of} units over the {size} values of {kernels.source}"
            what += f", {_ROW} a row" if len(kernels.inputs) == 1 else ""
        else:
            sides = "×".join(map(str, self._weight.shape[2:]))
            what = f"{of} outputs (rows) × {kernels.inputs[0]} channels of {kernels.source} (columns), {sides} each"
            if kernels.inputs[0] == 1:
                what = f"{of} kernels of {sides} over the {kernels.source}"
        self._sheet.heading(
            f"{self._name} kernels", f"{_FOLDED[kernels.folded]} · {what}", signed=True, ends=(f"−{bound}", bound)
        )

    def tiles(self) -> None:
        """One kernel for each output, as feature maps stand."""
        cell = max(1, TILE // int(self._weight.shape[3]))
        places = self._sheet.places(len(self._weight))
        for (x, y), channel, weight, bias in zip(places, self._kernels.channels, self._weight, self._bias, strict=True):
            self._sheet.tile(x, y, cell, weight[0], self._span, f"{self._name}, output {channel}")
            self._sheet.caption(x, y, str(channel), f"bias {number(bias, 2)}")

    def matrix(self) -> None:
        """A row for each output and a column for each input; many rows stand in two blocks side by side."""
        outputs, inputs, _, side = self._weight.shape
        blocks = _BLOCKS if outputs > COLUMNS else 1
        rows = -(-outputs // blocks)
        width = (WIDTH - 2 * MARGIN + (1 - blocks) * 3 * GAP) // blocks
        pitch = max(side, (width - LABELS) // inputs)
        cell = max(1, (pitch - GAP // 2) // side)
        top = self._sheet.top + _HEADER
        for block in range(blocks):
            left = MARGIN + block * (width + 3 * GAP) + LABELS
            for column in range(inputs):
                self._sheet.text(left + column * pitch + side * cell // 2, top - 7, str(column), anchor="middle")
            for index in range(block * rows, min(outputs, (block + 1) * rows)):
                channel, y = self._kernels.channels[index], top + (index - block * rows) * pitch
                self._sheet.text(left - 8, y + side * cell // 2 + 4, str(channel), ink=True, anchor="end")
                for column, weight in enumerate(self._weight[index]):
                    title = f"{self._name}, output {channel}, input {column}"
                    self._sheet.tile(left + column * pitch, y, cell, weight, self._span, title)
        self._sheet.top = top + rows * pitch

    def units(self) -> None:
        """Each unit's weights below its number and bias, as maps where the layer before has maps."""
        for channel, weight, bias in zip(self._kernels.channels, self._weight, self._bias, strict=True):
            self._sheet.text(MARGIN, self._sheet.top + 11, f"unit {channel}", ink=True)
            self._sheet.text(MARGIN + 64, self._sheet.top + 11, f"bias {number(bias, 2)}")
            self._sheet.top += _HEADER
            if len(self._kernels.inputs) == 1:
                numbers = np.arange(len(weight))
                self._sheet.strip(weight, numbers, _DENSE, _ROW, self._span, f"{self._name}, unit {channel}")
            else:
                self._over_maps(weight.reshape(self._kernels.inputs), f"{self._name}, unit {channel}")
            self._sheet.top += GAP

    def _over_maps(self, maps: Activations, name: str) -> None:
        side = int(maps.shape[2]) * _CELL
        pitch = side + GAP
        row = max(1, (WIDTH - 2 * MARGIN - LABELS) // pitch)
        for index, weight in enumerate(maps):
            x, y = MARGIN + LABELS + index % row * pitch, self._sheet.top + index // row * pitch
            self._sheet.tile(x, y, _CELL, weight, self._span, f"{name}, channel {index} of {self._kernels.source}")
            if index % row == 0:
                self._sheet.text(MARGIN + LABELS - 8, y + side // 2 + 4, str(index), anchor="end")
        self._sheet.top += -(-len(maps) // row) * pitch
