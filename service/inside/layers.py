"""Layers by their names, as a query has them."""

from collections.abc import Sequence

from service.errors import UnknownError
from service.layer import Layer
from service.manifest import Manifest


def layer_named(manifest: Manifest, name: str, among: Sequence[Layer], fault: str) -> Layer:
    """The layer of that name, which is to be among those that fit; `fault` says what is wrong with any other.

    Raises:
        UnknownError: the model has no such layer, or it is none that fits; the message names those that are.
    """
    for layer in among:
        if layer.name == name:
            return layer
    known = [layer.name for layer in manifest.layers]
    if name in known:
        fitting = f"; it is to be one of {', '.join(layer.name for layer in among)}" if among else ""
        raise UnknownError(f"layer {name} {fault}{fitting}")
    raise UnknownError(f"the model has no layer '{name[:40]}'; it has {', '.join(known)}")


def choose_layers(manifest: Manifest, asked: Sequence[str]) -> tuple[Layer, ...]:
    """The layers of names, each of which may also be a list with commas or `all`; in the network's order.

    Raises:
        UnknownError: the model has no such layer, or it is the one that answers.
    """
    names = {name.strip() for part in asked for name in part.split(",")}
    for name in sorted(names - {"all"}):
        layer_named(manifest, name, manifest.features, "is the answer itself")
    return tuple(layer for layer in manifest.features if layer.name in names or "all" in names)
