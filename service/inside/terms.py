"""The terms of one value: every value of the network is a bias and a sum of weights times inputs.

A ReLU and a maximum are such sums too, with the weight 1 for the input that passes and 0 for the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Activations
from service.errors import MalformedError
from service.inside.layers import layer_named
from service.layer import Layer
from service.manifest import NORMALISED, Manifest


@dataclass(frozen=True)
class Place:
    """One value of the network. `source` is the layer before it; `y` and `x` are None where a layer has no places."""

    layer: Layer
    source: str
    channel: int
    y: int | None
    x: int | None

    @property
    def index(self) -> tuple[int, ...]:
        """Where it is in the layer's array."""
        return tuple(part for part in (self.channel, self.y, self.x) if part is not None)


@dataclass(frozen=True)
class Terms:
    """The terms of a value's sum, each array (terms,): where the input is, and what it is weighted with.

    `y` and `x` are None where the source has no places. Where `padding` is true, the place is beyond the border and
    the input is 0.
    """

    channel: NDArray[np.intp]
    y: NDArray[np.intp] | None
    x: NDArray[np.intp] | None
    weight: NDArray[np.float32]
    input: NDArray[np.float32]
    padding: NDArray[np.bool_]
    bias: float

    @property
    def product(self) -> NDArray[np.float64]:
        """Weight times input, in float64, where the product of two float32 values is exact."""
        return self.weight.astype(np.float64) * self.input + 0.0  # no −0 where there is nothing

    @property
    def sum(self) -> float:
        """The value that they add up to."""
        return self.bias + float(self.product.sum())


def choose_place(manifest: Manifest, name: str, channel: int, y: int | None, x: int | None) -> Place:
    """The place of a layer, channel (or unit), row and column, counted from 0.

    Raises:
        UnknownError: the model has no such layer.
        MalformedError: the layer has no such place; the message says which it has.
    """
    layer = layer_named(manifest, name, manifest.layers, "has no values")
    number = manifest.layers.index(layer)
    source = manifest.layers[number - 1].name if number else NORMALISED
    given = {"channel": channel, "y": y, "x": x}
    for axis, size in zip(given, (*layer.shape, None, None), strict=False):
        place = given[axis]
        if size is None and place is not None:
            raise MalformedError(f"{axis}: {name} has {layer.shape[0]} values and no rows or columns")
        if size is not None and (place is None or not 0 <= place < size):
            raise MalformedError(f"{axis}: {name} has 0 to {size - 1}")
    return Place(layer, source, channel, y, x)


def terms_of(place: Place, source: Activations, parameters: Mapping[str, Activations]) -> Terms:
    """The terms of a value's sum in the order of computation: by input channel, row and column.

    `source` has the values of the layer before, of its shape, and `parameters` are the engine's.
    """
    layer = place.layer
    if layer.operator == "Gemm":
        return _linear(place, source, parameters)
    if layer.operator == "Relu":
        single = source[place.index]
        y, x = (None if part is None else np.array([part]) for part in (place.y, place.x))
        weight = np.array([single > 0], np.float32)
        return Terms(np.array([place.channel]), y, x, weight, single.reshape(1), np.zeros(1, np.bool_), 0.0)
    return _window(place, source, parameters)


def _linear(place: Place, source: Activations, parameters: Mapping[str, Activations]) -> Terms:
    """Those of a unit, one for each value of a source (units,) or (channels, height, width)."""
    name = place.layer.name
    places = list(np.unravel_index(np.arange(source.size), source.shape))
    channel, y, x = places if source.ndim == 3 else (places[0], None, None)
    return Terms(
        channel,
        y,
        x,
        parameters[f"{name}.weight"][place.channel],
        source.reshape(-1),
        np.zeros(source.size, np.bool_),
        float(parameters[f"{name}.bias"][place.channel]),
    )


def _window(place: Place, source: Activations, parameters: Mapping[str, Activations]) -> Terms:
    """Those of a convolution, or of a maximum over a window, of a source (channels, height, width)."""
    layer = place.layer
    kernel, stride, border = layer.window
    pooled = layer.operator == "MaxPool"
    channels = np.array([place.channel]) if pooled else np.arange(len(source))
    rows, columns = ((part or 0) * stride + np.arange(kernel) - border for part in (place.y, place.x))
    channel, y, x = (axis.reshape(-1) for axis in np.meshgrid(channels, rows, columns, indexing="ij"))
    padding = (y < 0) | (y >= source.shape[1]) | (x < 0) | (x >= source.shape[2])
    inputs = np.zeros(len(channel), np.float32)
    inputs[~padding] = source[channel[~padding], y[~padding], x[~padding]]
    if pooled:
        weight = np.zeros(len(channel), np.float32)
        weight[np.where(padding, -np.inf, inputs).argmax()] = 1  # what is beyond the border is never the largest
        return Terms(channel, y, x, weight, inputs, padding, 0.0)
    weight = parameters[f"{layer.name}.weight"][place.channel].reshape(-1)
    return Terms(channel, y, x, weight, inputs, padding, float(parameters[f"{layer.name}.bias"][place.channel]))
