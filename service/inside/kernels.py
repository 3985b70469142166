"""The weights of the network that serves: of which layer and of which of its outputs, and as data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.answer import in_pieces
from service.engine import Activations
from service.inside.channels import Channels, choose_channels
from service.inside.layers import layer_named
from service.layer import Layer
from service.manifest import Manifest


class Kernels(NamedTuple):
    """The kernels of a layer that are asked for: one for each of `channels`, over the values of the layer before.

    `source` and `inputs` are that layer's name and shape, or those of the image. `folded` says what is part of the
    weights though no node of its own: BatchNorm, or the temperature of the calibration.
    """

    layer: Layer
    channels: Channels
    source: str
    inputs: tuple[int, ...]
    folded: str | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of their weights: (outputs, inputs, height, width) or (outputs, inputs)."""
        if self.layer.kernel is None:
            return len(self.channels), math.prod(self.inputs)
        return len(self.channels), self.inputs[0], self.layer.kernel, self.layer.kernel

    def of(self, parameters: Mapping[str, Activations]) -> dict[str, Activations]:
        """Their `weight`, of their shape, and `bias` (outputs,), both float32, of the engine's parameters by name."""
        name = self.layer.name
        return {kind: parameters[f"{name}.{kind}"].take(self.channels, axis=0) for kind in ("weight", "bias")}


def choose_kernels(manifest: Manifest, name: str, channels: Sequence[str]) -> Kernels:
    """The kernels of a layer, for those of its channels that are asked for, as `choose_channels` has them.

    Raises:
        UnknownError: the model has no such layer, or it has no weights.
        MalformedError: the layer has no such channel.
    """
    having = [layer for layer in manifest.layers if layer.parameters]
    layer = layer_named(manifest, name, having, "has no weights")
    number = manifest.layers.index(layer)
    source, inputs = "image", manifest.input.shape[1:]
    if number:
        source, inputs = manifest.layers[number - 1].name, manifest.layers[number - 1].shape
    folded = "BatchNorm" if layer.operator == "Conv" else "temperature" if layer is manifest.layers[-1] else None
    return Kernels(layer, choose_channels(channels, name, layer.shape[0]), source, inputs, folded)


def as_json(kernels: Kernels, parameters: Mapping[str, Activations]) -> dict[str, Any]:
    """The kernels with what they are of, their weights and bias, for `to_json`."""
    return {
        "name": kernels.layer.name,
        "operator": kernels.layer.operator,
        "folded": kernels.folded,
        "source": {"name": kernels.source, "shape": kernels.inputs},
        "channels": kernels.channels,
        "shape": kernels.shape,
        **{name: in_pieces(values) for name, values in kernels.of(parameters).items()},
    }
