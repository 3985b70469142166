"""The served network once more with a mask behind each layer, as nodes behind the served file."""

import numpy as np

from service.graph import Graph
from service.layer import Layer
from service.manifest import NORMALISED, Manifest

LOGITS = "masked.logits"
PROBABILITIES = "masked.probabilities"


def mask_of(layer: str) -> str:
    """The input that a layer is multiplied with, float32: by default 1.

    It is (n, channels, height or 1, width or 1) or (n, values). n is that of the images, or either of both is 1; what
    comes before the first mask is computed only once where there is one image.
    """
    return f"mask.{layer}"


def masked(manifest: Manifest) -> Graph:
    """The nodes of `LOGITS` and `PROBABILITIES`, each float32 (n, 10), of the network under its masks."""
    graph = Graph()
    value = NORMALISED
    *inner, last = manifest.layers
    for layer in inner:
        computed = _compute(graph, layer, value, f"unmasked.{layer.name}")
        mask = mask_of(layer.name)
        channels, *places = layer.shape
        graph.input(mask, "float32", [f"{mask}.batch", channels, *(f"{mask}.{axis}" for axis in range(len(places)))])
        graph.constant(mask, np.ones((1, channels, *(1 for _ in places)), np.float32))
        value = graph.node("Mul", [computed, mask], f"masked.{layer.name}")
    graph.node("Softmax", [_compute(graph, last, value, LOGITS)], PROBABILITIES, axis=1)
    return graph.outputs(LOGITS, PROBABILITIES)


def _compute(graph: Graph, layer: Layer, value: str, name: str) -> str:
    """The layer's own operator with its own weights."""
    parameters = [f"{layer.name}.weight", f"{layer.name}.bias"]
    if layer.operator == "Relu":
        return graph.node("Relu", [value], name)
    if layer.operator == "Gemm":
        return graph.node("Gemm", [graph.node("Flatten", [value], f"{name}.flat", axis=1), *parameters], name, transB=1)
    inputs = [value, *parameters] if layer.operator == "Conv" else [value]
    return graph.node(layer.operator, inputs, name, **layer.window.attributes)
