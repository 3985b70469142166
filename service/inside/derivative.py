"""The served network turned round: how a value changes with each value before it, as nodes behind the served file.

Between the kinks of its ReLUs and maxima the network is linear, and its derivative is exact there. It is found as back
propagation finds it (D. Rumelhart, G. Hinton and R. Williams, "Learning representations by back-propagating errors",
1986): a convolution becomes a transposed convolution with the same weights (V. Dumoulin and F. Visin,
arXiv:1603.07285, relationship 14), a linear layer its transposed weights, a ReLU lets through where its own value is
above 0, and a maximum hands on to the first of the largest.
"""

from collections.abc import Sequence

import numpy as np

from service.graph import Graph
from service.layer import Layer, transposed_size
from service.manifest import NORMALISED, Manifest


def seed_of(layer: str) -> str:
    """The input that takes the derivative of whatever is asked by a layer: float32 (n, *shape), by default 0."""
    return f"seed.{layer}"


def derivative_by(layer: str) -> str:
    """The tensor that has the derivative by a layer or by the image's grey levels, float32 (n, *shape)."""
    return f"derivative.{layer}"


def transposed(manifest: Manifest) -> Graph:
    """The nodes of the derivative by every layer and by the image, all of them from the seeds of the layers above.

    The seed of the last layer has no default, so that it tells how many there are in the batch.
    """
    graph = Graph()
    *inner, last = manifest.layers
    back = graph.input(seed_of(last.name), "float32", ["batch", *last.shape])
    for layer in inner:
        graph.input(seed_of(layer.name), "float32", [f"{seed_of(layer.name)}.batch", *layer.shape])
        graph.constant(seed_of(layer.name), np.zeros((1, *layer.shape), np.float32))
    sources = [(NORMALISED, manifest.input.shape[1:]), *((layer.name, layer.shape) for layer in inner)]
    for layer, (source, shape) in zip(reversed(manifest.layers), reversed(sources), strict=True):
        if layer is not last:
            back = graph.node("Add", [back, seed_of(layer.name)], derivative_by(layer.name))
        back = _back_through(graph, layer, back, source, shape)
    graph.node("Div", [back, "std"], derivative_by(manifest.input.name))
    return graph.outputs(*(derivative_by(name) for name in (manifest.input.name, *(layer.name for layer in inner))))


def _back_through(graph: Graph, layer: Layer, back: str, source: str, shape: Sequence[int]) -> str:
    """The derivative by what a layer takes, `source` of `shape`, from that by what it gives."""
    made = f"transposed.{layer.name}"
    if layer.operator == "Relu":
        return graph.node("Mul", [back, graph.node("Sign", [layer.name], f"{made}.passes")], made)
    if layer.operator == "Gemm":
        flat = graph.node("MatMul", [back, f"{layer.name}.weight"], f"{made}.flat")
        return graph.node("Reshape", [flat, graph.constant(f"{made}.shape", np.array([-1, *shape]))], made)
    kernel, stride, padding = layer.window
    sizes = layer.window.attributes
    if layer.operator == "Conv":
        reached = [transposed_size(size, kernel, stride, padding) for size in layer.shape[1:]]
        unreached = [size - last for size, last in zip(shape[1:], reached, strict=True)]  # that no step came to
        return graph.node("ConvTranspose", [back, f"{layer.name}.weight"], made, **sizes, output_padding=unreached)
    graph.node("MaxPool", [source], [f"{made}.largest", f"{made}.places"], **sizes)
    whole = graph.node("Shape", [source], f"{made}.shape")
    line = graph.constant(f"{made}.line", np.array([-1]))
    in_line = [graph.node("Reshape", [value, line], f"{value}.in_line") for value in (f"{made}.places", back)]
    nothing = graph.node("Reshape", [graph.node("ConstantOfShape", [whole], f"{made}.nothing"), line], f"{made}.empty")
    # Added and not only placed, since windows that overlap may have the same largest value.
    placed = graph.node("ScatterElements", [nothing, *in_line], f"{made}.placed", axis=0, reduction="add")
    return graph.node("Reshape", [placed, whole], made)
