"""What the answer would be without a channel: its values are set to zero, and the rest of the network goes on.

So do A. Morcos et al., "On the importance of single directions for generalization" (arXiv:1803.06959).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from service.answer import written
from service.engine import Activations, Images
from service.errors import UnknownError
from service.inside.channels import choose_channels
from service.inside.layers import layer_named
from service.inside.probe import Probe
from service.layer import Layer
from service.manifest import Manifest

_PIECE = 64  # silenced copies of a run


@dataclass(frozen=True)
class Reply:
    """Logits and probabilities, each (10,), and the digit that they tell."""

    logits: Activations
    probabilities: Activations
    digit: int


@dataclass(frozen=True)
class Silenced:
    """The reply without some channels, and its logits less those with all channels, (10,)."""

    channels: tuple[int, ...]
    reply: Reply
    difference: Activations


def choose_layer(manifest: Manifest, name: str | None) -> Layer:
    """The layer of a name: by default the last convolution.

    Raises:
        UnknownError: the model has no such layer, or it is the last one.
    """
    if name is not None:
        return layer_named(manifest, name, manifest.features, "is the answer itself and cannot be silenced")
    convolutions = [layer for layer in manifest.features if layer.operator == "Conv"]
    if not convolutions:
        raise UnknownError("the model has no convolution whose channels could be silenced; a layer is to be named")
    return convolutions[-1]


def choose_silenced(layer: Layer, asked: Sequence[str]) -> list[tuple[int, ...]]:
    """The channels, or units, that are silenced together, as `choose_channels` has them; each alone if none is asked.

    Raises:
        MalformedError: that is no channel, or the layer has none of that number.
    """
    channels: list[int] = choose_channels(asked, layer.name, layer.shape[0]).tolist()
    return [tuple(channels)] if asked else [(channel,) for channel in channels]


def ablate(
    probe: Probe, image: Images, layer: Layer, choices: Sequence[tuple[int, ...]]
) -> tuple[Reply, list[Silenced]]:
    """The reply to one image, uint8 (1, 1, height, width), and that without each choice of channels of a layer.

    Raises:
        EngineError: a run failed.
    """
    masks = np.ones((1 + len(choices), *layer.shape[:1], *(1 for _ in layer.shape[1:])), np.float32)
    for mask, channels in zip(masks[1:], choices, strict=True):  # the first one silences nothing
        mask[list(channels)] = 0
    pieces = [masks[start : start + _PIECE] for start in range(0, len(masks), _PIECE)]
    replies = [
        Reply(logits, probabilities, int(logits.argmax()))
        for piece in pieces
        for logits, probabilities in zip(*probe.answer_masked(image, {layer.name: piece}), strict=True)
    ]
    before, *after = replies
    return before, [
        Silenced(channels, reply, reply.logits - before.logits) for channels, reply in zip(choices, after, strict=True)
    ]


def as_json(before: Reply, silenced: Sequence[Silenced]) -> dict[str, Any]:
    """The replies, for `to_json`: of a layer with hundreds of units they are many."""
    return {
        "before": asdict(before),
        "silenced": [
            written({"channels": each.channels, **asdict(each.reply), "difference": each.difference})
            for each in silenced
        ],
    }
