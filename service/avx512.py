"""The model laid out for the kernels of ONNX Runtime on AVX-512: the same numbers to the bit, a third faster.

Two things are slow in the graph as it is exported:

- A convolution makes blocks of 16 channels, and conv1 has 8. Half of what it makes is of no channel, and what is left
  has to be taken out before it is pooled. Here the upper and the lower half of the picture are two inputs of conv1, and
  each of its channels is made of both: 16 channels of half the height. As channel and half are next to each other in
  memory, joining them again is a matter of their names.
- The first and the last outputs of a row read padding, and such a kernel makes them one at a time where it makes six
  of the others. Of conv2's rows of 14 that is 4. Here the zeros stand in memory, so no output is at an edge.

Each output is the same sum in the same order; what is added are zeros. In batches of 64 on a Xeon, of 2.94 ms: pool1
and what leads to it took 0.49 and takes 0.29, conv2 1.54 and 0.94; the zeros cost 0.1 (ONNX Runtime's profiler).
"""

from collections.abc import Sequence

import numpy as np

from service.cpus import cpu_flags
from service.graph import Graph, swapped
from service.layer import Layer
from service.manifest import NORMALISED

_BLOCK = 16  # channels of 32 bits in a register of 512


def laid_out(model: bytes, layers: Sequence[Layer], *, floats: bool) -> bytes:
    """The model laid out so, or as it is where that is for nothing: on another CPU, or of another network.

    With `floats` conv2 computes in them; the int8 variant's does not, and has other kernels.
    """
    if "avx512f" not in cpu_flags() or not _fits(layers):
        return model
    conv1, _, pool1, conv2 = layers[:4]
    margin = conv2.window.padding if floats else 0
    parts = {conv1.name: _halved(conv1), pool1.name: _joined(layers[1], pool1, margin)}
    if margin:
        parts[conv2.name] = _within(pool1, conv2)
    try:
        return swapped(model, parts)
    except ValueError:  # it is no model of these layers, which opening it finds out
        return model


def _fits(layers: Sequence[Layer]) -> bool:
    """Whether the layers begin as the reference network does, with half a block of channels."""
    if [layer.operator for layer in layers[:4]] != ["Conv", "Relu", "MaxPool", "Conv"]:
        return False
    conv1, _, pool1, _ = layers[:4]
    channels, height, width = conv1.shape
    return (
        2 * channels == _BLOCK
        and height % 4 == 0  # of both halves, as pooling has two rows of each window
        and conv1.window == (2 * conv1.window.padding + 1, 1, conv1.window.padding)
        and pool1.window == (2, 2, 0)
        and pool1.shape == (channels, height // 2, width // 2)
    )


def _halved(conv1: Layer) -> Graph:
    """conv1 of both halves: (n, 1, height, width) → (n, 2 · channels, height / 2, width), a channel's two in a row."""
    graph = Graph()
    channels, height, width = conv1.shape
    kernel, _, padding = conv1.window
    half = height // 2
    rows = np.array([[0], [half]]) + np.arange(half + 2 * padding)  # of each half, and those at its edges

    bordered = _padded(graph, NORMALISED, "halves.bordered", height=padding)
    taken = graph.node("Gather", [bordered, graph.constant("halves.rows", rows)], "halves.taken", axis=2)
    halves = _reshaped(graph, taken, "halves", -1, *rows.shape, width)

    # Of constants, so it is computed once, when the model is opened. A channel's kernel reads one half or the other.
    own = graph.constant("halves.own", np.eye(2, dtype=np.float32).reshape(1, 2, 2, 1, 1))
    weight = _reshaped(graph, f"{conv1.name}.weight", "halves.weight.each", channels, 1, 1, kernel, kernel)
    weight = graph.node("Mul", [weight, own], "halves.weight.both")
    weight = _reshaped(graph, weight, "halves.weight", 2 * channels, 2, kernel, kernel)
    twice = graph.constant("halves.twice", np.ones((1, 2), np.float32))
    bias = _reshaped(graph, f"{conv1.name}.bias", "halves.bias.each", channels, 1)
    bias = graph.node("Mul", [bias, twice], "halves.bias.both")
    bias = _reshaped(graph, bias, "halves.bias", 2 * channels)

    graph.node("Conv", [halves, weight, bias], conv1.name, kernel_shape=[kernel] * 2, pads=[0, padding] * 2)
    return graph


def _joined(relu1: Layer, pool1: Layer, margin: int) -> Graph:
    """pool1 of both halves, with zeros on the left and the right, and joined: (n, channels, height, width)."""
    graph = Graph()
    channels, height, width = pool1.shape
    pooled = graph.node("MaxPool", [relu1.name], "halves.pooled", kernel_shape=[2, 2], strides=[2, 2])
    if margin:
        # Before they are joined: ONNX Runtime makes zeros that stand right before a convolution its padding again.
        pooled = _padded(graph, pooled, "halves.margins", width=margin)
    _reshaped(graph, pooled, pool1.name, -1, channels, height, width + 2 * margin)
    return graph


def _within(pool1: Layer, conv2: Layer) -> Graph:
    """conv2 of rows that have their zeros; above and below it has its padding, of which no sum is made."""
    graph = Graph()
    kernel, stride, padding = conv2.window
    inputs = [pool1.name, f"{conv2.name}.weight", f"{conv2.name}.bias"]
    sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding, 0] * 2}
    graph.node("Conv", inputs, conv2.name, **sizes)
    return graph


def _padded(graph: Graph, value: str, name: str, *, height: int = 0, width: int = 0) -> str:
    """A value (n, channels, height, width) with so many zeros before and behind."""
    pads = np.array([0, 0, height, width] * 2)
    return graph.node("Pad", [value, graph.constant(f"{name}.pads", pads)], name)


def _reshaped(graph: Graph, value: str, name: str, *shape: int) -> str:
    return graph.node("Reshape", [value, graph.constant(f"{name}.shape", np.array(shape))], name)
