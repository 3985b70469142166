"""Feature maps as data: which are asked for, over which range they are scaled, and as JSON, NPY or NPZ."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedError, UnknownError
from service.layer import Layer
from service.manifest import Manifest

Scale = Literal["map", "layer", "all"]
Activations = NDArray[np.float32]
Range = tuple[float, float]


def choose_layers(manifest: Manifest, asked: Sequence[str]) -> tuple[Layer, ...]:
    """The layers of names, each of which may also be a list with commas or `all`; in the network's order.

    Raises:
        UnknownError: the model has no such layer; the message names those it has.
    """
    names = {name.strip() for part in asked for name in part.split(",")}
    known = {layer.name for layer in manifest.features}
    for name in sorted(names - known - {"all"}):
        raise UnknownError(f"the model has no layer '{name[:40]}'; it has {', '.join(known_in_order(manifest))}")
    return tuple(layer for layer in manifest.features if layer.name in names or "all" in names)


def known_in_order(manifest: Manifest) -> list[str]:
    """The names of the layers that can be asked for."""
    return [layer.name for layer in manifest.features]


def as_maps(values: Activations) -> Activations:
    """One image's activations as maps (n, height, width): a convolution's channels, or a linear layer as one map.

    A linear layer has no places, so its values are only laid out row by row, 30 a row where that comes out even.
    """
    if values.ndim == 3:
        return values
    width = 30 if len(values) % 30 == 0 else len(values)
    return values.reshape(1, -1, width)


def ranges(maps: Mapping[str, Activations], scale: Scale) -> dict[str, list[Range]]:
    """The least and largest value that each map (n, height, width) of each layer is scaled over.

    `map` takes each map's own, `layer` the layer's, `all` that of all the layers given.
    """

    def span(values: Sequence[Activations]) -> Range:
        return min(float(v.min()) for v in values), max(float(v.max()) for v in values)

    if scale == "map":
        return {name: [span([single]) for single in layer] for name, layer in maps.items()}
    over_all = span(list(maps.values()))
    return {name: [span([layer]) if scale == "layer" else over_all] * len(layer) for name, layer in maps.items()}


def as_json(layers: Sequence[Layer], activations: Mapping[str, Activations]) -> list[dict[str, Any]]:
    """The layers with their values, (images, *shape), still as arrays."""
    return [
        {
            "name": layer.name,
            "operator": layer.operator,
            "shape": layer.shape,
            "signed": layer.signed,
            "values": activations[layer.name],
        }
        for layer in layers
    ]


def as_npy(activations: Mapping[str, Activations]) -> bytes:
    """One layer, float32 (images, *shape), in NumPy's NPY format.

    Raises:
        MalformedError: there are several layers.
    """
    if len(activations) != 1:
        raise MalformedError(f"NPY holds one layer, and {len(activations)} are asked for; NPZ holds several")
    buffer = io.BytesIO()
    np.save(buffer, next(iter(activations.values())), allow_pickle=False)
    return buffer.getvalue()


def as_npz(activations: Mapping[str, Activations]) -> bytes:
    """The layers by name, each float32 (images, *shape), in NumPy's NPZ format."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **activations)
    return buffer.getvalue()
