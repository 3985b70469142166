"""What the answer would be without a channel: its values are set to zero, and the rest of the network goes on.

So do A. Morcos et al., "On the importance of single directions for generalization" (arXiv:1803.06959).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Images
from service.errors import MalformedError, UnknownError
from service.inside.features import choose_layers
from service.inside.probe import Probe
from service.layer import Layer
from service.manifest import Manifest

_PIECE = 64  # silenced copies of a run
_NUMBER = re.compile(r"[0-9]{1,9}")

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Reply:
    """Logits and probabilities, each (10,), and the digit that they tell."""

    logits: Values
    probabilities: Values
    digit: int


@dataclass(frozen=True)
class Silenced:
    """The reply without some channels, and its logits less those with all channels, (10,)."""

    channels: tuple[int, ...]
    reply: Reply
    difference: Values


def choose_layer(manifest: Manifest, name: str | None) -> Layer:
    """The layer of a name: by default the last convolution.

    Raises:
        UnknownError: the model has no such layer.
        MalformedError: there are several.
    """
    if name is None:
        convolutions = [layer for layer in manifest.features if layer.operator == "Conv"]
        if not convolutions:
            raise UnknownError("the model has no convolution whose channels could be silenced; a layer is to be named")
        return convolutions[-1]
    layers = choose_layers(manifest, [name])
    if len(layers) != 1:
        raise MalformedError(f"channels of one layer are silenced at a time, and {len(layers)} are asked for")
    return layers[0]


def choose_channels(layer: Layer, asked: str | None) -> list[tuple[int, ...]]:
    """The channels, or units, that are silenced together: those of a list with commas; without one, each alone.

    Raises:
        MalformedError: it is no such list.
        UnknownError: the layer has no such channel.
    """
    count = layer.shape[0]
    if asked is None:
        return [(channel,) for channel in range(count)]
    parts = [part.strip() for part in asked.split(",")]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        raise MalformedError("channels: they are to be numbers from 0 on, with commas between them, such as 5,6")
    channels = sorted({int(part) for part in parts})
    if channels[-1] >= count:
        raise UnknownError(f"layer {layer.name} has the channels 0 to {count - 1}, and no {channels[-1]}")
    return [tuple(channels)]


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
