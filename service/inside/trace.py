"""Why a value is what it is: the terms of its sum, and the pixels that it comes from.

Every value of the network is a bias and a sum of weights times inputs. A ReLU and a maximum are such sums too, with the
weight 1 for the input that passes and 0 for the others. So for as long as the same ReLUs pass and the same maxima are
taken, a value is a linear function of the pixels, and its weights are found by going back through the layers (the
piecewise-linear view of G. Montúfar et al., "On the Number of Linear Regions of Deep Neural Networks", 2014).

The inputs are ONNX Runtime's own float32 values; what is made of them here is computed in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from service.errors import MalformedError
from service.inside.layers import layer_named
from service.layer import Layer
from service.manifest import NORMALISED, Manifest

Exact = NDArray[np.float64]
Values = Mapping[str, NDArray[np.float32]]
"""The layers of one image by name, each (*shape of the layer), and `normalised`, (1, height, width)."""


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
    def product(self) -> Exact:
        """Weight times input, in float64, where the product of two float32 values is exact."""
        return self.weight.astype(np.float64) * self.input + 0.0  # no −0 where there is nothing


@dataclass(frozen=True)
class Behind:
    """A value as a linear function of the pixels: `offset` + Σ `weights` · pixel, in grey levels 0–255.

    `weights` is (height, width).
    """

    weights: Exact
    offset: float


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


def terms_of(place: Place, values: Values, parameters: Values) -> Terms:
    """The terms of a value's sum in the order of computation: by input channel, row and column."""
    layer, source = place.layer, values[place.source]
    if layer.operator == "Gemm":
        return _linear(place, source, parameters)
    if layer.operator == "Relu":
        single = source[place.index]
        y, x = (None if part is None else np.array([part]) for part in (place.y, place.x))
        weight = np.array([single > 0], np.float32)
        return Terms(np.array([place.channel]), y, x, weight, single.reshape(1), np.zeros(1, np.bool_), 0.0)
    return _window(place, source, parameters)


def _linear(place: Place, source: NDArray[np.float32], parameters: Values) -> Terms:
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


def _window(place: Place, source: NDArray[np.float32], parameters: Values) -> Terms:
    """Those of a convolution, or of a maximum over a window."""
    layer = place.layer
    assert layer.kernel is not None and layer.stride is not None and place.y is not None and place.x is not None  # noqa: S101 — such layers have them
    steps = np.arange(layer.kernel) - (layer.padding or 0)
    pooled = layer.operator == "MaxPool"
    channels = np.array([place.channel]) if pooled else np.arange(len(source))
    grid = np.meshgrid(channels, place.y * layer.stride + steps, place.x * layer.stride + steps, indexing="ij")
    channel, y, x = (axis.reshape(-1) for axis in grid)
    padding = (y < 0) | (y >= source.shape[1]) | (x < 0) | (x >= source.shape[2])
    inputs = np.zeros(len(channel), np.float32)
    inputs[~padding] = source[channel[~padding], y[~padding], x[~padding]]
    if pooled:
        weight = np.zeros(len(channel), np.float32)
        weight[inputs.argmax()] = 1
        return Terms(channel, y, x, weight, inputs, padding, 0.0)
    weight = parameters[f"{layer.name}.weight"][place.channel].reshape(-1)
    return Terms(channel, y, x, weight, inputs, padding, float(parameters[f"{layer.name}.bias"][place.channel]))


def pixels_behind(place: Place, manifest: Manifest, values: Values, parameters: Values) -> Behind:
    """The value as a linear function of the pixels, through the ReLUs that pass and the maxima that are taken."""
    names = [layer.name for layer in manifest.layers]
    depth = names.index(place.layer.name)
    slope: Exact = np.zeros(place.layer.shape)
    slope[place.index] = 1
    offset = 0.0
    for layer, source in reversed(list(zip(manifest.layers, [NORMALISED, *names], strict=False))[: depth + 1]):
        inputs = values[source]
        if layer.operator == "Relu":
            slope = slope * (inputs > 0)
        elif layer.operator == "MaxPool":
            slope = _through_maxima(layer, slope, inputs)
        else:
            bias = parameters[f"{layer.name}.bias"].astype(np.float64)
            offset += float((slope.reshape(len(bias), -1).sum(axis=1) * bias).sum())
            weight = parameters[f"{layer.name}.weight"].astype(np.float64)
            if layer.operator == "Gemm":
                slope = (slope @ weight).reshape(inputs.shape)
            else:
                slope = _through_convolution(layer, slope, inputs, weight)
    mean, std = (float(parameters[name]) for name in ("mean", "std"))
    weights = slope[0] / std
    return Behind(weights, offset - mean * float(weights.sum()))


def _through_maxima(layer: Layer, slope: Exact, inputs: NDArray[Any]) -> Exact:
    assert layer.kernel is not None and layer.stride is not None  # noqa: S101 — a pooling has them
    size, stride = layer.kernel, layer.stride
    windows = sliding_window_view(inputs, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    taken = windows.reshape(*slope.shape, size * size).argmax(axis=-1)
    channel, y, x = np.indices(slope.shape)
    before = np.zeros(inputs.shape)
    np.add.at(before, (channel, y * stride + taken // size, x * stride + taken % size), slope)
    return before


def _through_convolution(layer: Layer, slope: Exact, inputs: NDArray[Any], weight: Exact) -> Exact:
    assert layer.kernel is not None and layer.stride is not None  # noqa: S101 — a convolution has them
    padding = layer.padding or 0
    channels, height, width = inputs.shape
    before = np.zeros((channels, height + 2 * padding, width + 2 * padding))
    rows, columns = (layer.stride * (size - 1) + 1 for size in slope.shape[1:])
    for y in range(layer.kernel):
        for x in range(layer.kernel):
            cells = before[:, y : y + rows : layer.stride, x : x + columns : layer.stride]
            cells += np.tensordot(weight[:, :, y, x].T, slope, axes=1)
    return before[:, padding : padding + height, padding : padding + width]
