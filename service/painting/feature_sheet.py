"""A sheet of feature maps: each layer's maps side by side, what a ReLU makes nothing or everything of marked so."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.engine import Activations
from service.inside.channels import as_text
from service.inside.features import Choice, Scale, as_maps, ranges
from service.inside.statistics import statistics
from service.painting.drawing import Drawing
from service.painting.sheet import MARGIN, TILE, Sheet, Span, number, share

_CELL = 14  # pixels of a value's side in a linear layer, which has no maps
_ROW = 50  # values of it in a row: easily counted
_LISTED = 40  # characters at most, of their numbers where not all are chosen
_OPERATORS = {
    "Conv": "convolution with BatchNorm folded in",
    "Relu": "ReLU",
    "MaxPool": "max pooling",
    "Gemm": "linear",
}


def draw_features(choices: Sequence[Choice], activations: Mapping[str, Activations], scale: Scale) -> Drawing:
    """The chosen channels' maps of one image; `activations` has each layer's values by name, (*shape of the layer).

    The ranges of colours are those of whole layers, whichever of their channels are chosen.
    """
    spans = ranges({choice.layer.name: as_maps(activations[choice.layer.name]) for choice in choices}, scale)
    sheet = Sheet(f"Feature maps of {', '.join(choice.layer.name for choice in choices)}")
    for choice in choices:
        name = choice.layer.name
        of_maps = [Span(low, high, choice.layer.signed) for low, high in spans[name]]
        _Section(sheet, choice, choice.of(activations[name][np.newaxis])[0], of_maps, scale).draw()
    return sheet.finished()


class _Section:
    """One layer's part of the sheet; `spans` has a range for each map of the layer, chosen or not."""

    def __init__(self, sheet: Sheet, choice: Choice, values: Activations, spans: Sequence[Span], scale: Scale) -> None:
        self._sheet = sheet
        self._choice = choice
        self._values = values
        self._spans = spans
        self._scale = scale

    def draw(self) -> None:
        """Draws it, and leaves a margin below."""
        layer = self._choice.layer
        bound = number(max(span.bound for span in self._spans))
        ends = (f"−{bound}" if layer.signed else "0", bound)
        if self._scale == "map" and len(layer.shape) == 3:
            ends = ("−largest", "largest") if layer.signed else ("0", "each map's largest")
        subtitle = f"{_OPERATORS[layer.operator]} · {self._size()}"
        self._sheet.heading(layer.name, subtitle, signed=layer.signed, ends=ends)
        if len(layer.shape) == 1:
            self._sheet.strip(self._values, self._choice.channels, _CELL, _ROW, self._spans[0], layer.name)
        else:
            self._maps()
        self._sheet.top += MARGIN

    def _size(self) -> str:
        chosen, count = len(self._choice.channels), self._choice.layer.shape[0]
        of = share(chosen, count)
        if self._values.ndim == 1:
            numbers = as_text(self._choice.channels)
            which = f": {numbers}" if chosen < count and len(numbers) <= _LISTED else ""
            row = f", {_ROW} a row" if chosen > _ROW else ""
            return f"{of} values{which}{row} · {np.count_nonzero(self._values > 0)} above zero"
        return f"{of} maps of {self._values.shape[2]}×{self._values.shape[1]}"

    def _maps(self) -> None:
        cell = max(1, TILE // int(self._values.shape[2]))  # a whole number, so that each value is a square
        places = self._sheet.places(len(self._values))
        facts = statistics(self._values[np.newaxis])
        flags = [
            "dead" if dead else "saturated" if saturated else ""
            for dead, saturated in zip(facts["dead"][0], facts["saturated"][0], strict=True)
        ]
        for (x, y), channel, values, flag in zip(places, self._choice.channels, self._values, flags, strict=True):
            span = self._spans[channel]
            title = f"{self._choice.layer.name}, channel {channel}{flag and ', '}{flag}"
            self._sheet.tile(x, y, cell, values, span, title)
            largest = f"{'±' if span.signed else ''}{number(span.bound, 2)}" if self._scale == "map" else ""
            self._sheet.caption(x, y, str(channel), flag or largest, ink=bool(flag))
