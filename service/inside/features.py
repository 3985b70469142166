"""Feature maps as data: which are asked for, over which range they are scaled, and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from service.answer import in_pieces
from service.engine import Activations
from service.inside.channels import Channels, choose_channels
from service.inside.layers import choose_layers
from service.inside.statistics import statistics
from service.layer import Layer
from service.manifest import Manifest

Scale = Literal["map", "layer", "all"]
Range = tuple[float, float]


class Choice(NamedTuple):
    """A layer that is asked for, with those of its channels that are."""

    layer: Layer
    channels: Channels

    @property
    def shape(self) -> tuple[int, ...]:
        """What is left of the layer's shape."""
        return (len(self.channels), *self.layer.shape[1:])

    def of(self, values: Activations) -> Activations:
        """The chosen channels of the layer's values (images, *its shape)."""
        return values if self.shape == self.layer.shape else values.take(self.channels, axis=1)


def choose(manifest: Manifest, layers: Sequence[str], channels: Sequence[str] = ()) -> tuple[Choice, ...]:
    """The layers of names, as `choose_layers` has them, and of each the channels, as `choose_channels` has them.

    Raises:
        UnknownError: the model has no such layer.
        MalformedError: one of the layers has no such channel, or that is no channel.
    """
    chosen = choose_layers(manifest, layers)
    return tuple(Choice(layer, choose_channels(channels, layer.name, layer.shape[0])) for layer in chosen)


def as_maps(values: Activations) -> Activations:
    """One image's activations as maps (n, height, width): a convolution's channels, or a linear layer as one row."""
    return values if values.ndim == 3 else values[np.newaxis, np.newaxis]


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


def as_json(
    choices: Sequence[Choice], activations: Mapping[str, Activations], *, values: bool = True
) -> list[dict[str, Any]]:
    """The layers with their chosen channels' statistics and, if asked for, values (images, *shape), for `to_json`."""
    described = []
    for choice in choices:
        layer, shown = choice.layer, choice.of(activations[choice.layer.name])
        facts = {
            "name": layer.name,
            "operator": layer.operator,
            "shape": choice.shape,
            "signed": layer.signed,
            "channels": choice.channels,
            "statistics": {name: in_pieces(figures) for name, figures in statistics(shown).items()}
            | ({"dead": None, "saturated": None} if shown.ndim == 2 else {}),
        }
        described.append(facts | {"values": in_pieces(shown)} if values else facts)
    return described
