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
from numpy.typing import ArrayLike

from service.cpus import cpu_flags
from service.graph import Graph, swapped
from service.layer import Layer
from service.manifest import NORMALISED

_BLOCK = 16  # channels of 32 bits in a register of 512
_POOLING = {"kernel_shape": [2, 2], "strides": [2, 2]}
_NAMES = "avx512/"  # how those of tensors begin that are not the file's own


def laid_out(model: bytes, layers: Sequence[Layer], *, floats: bool) -> bytes:
    """The model laid out so, or as it is where that is for nothing: on another CPU, or of another network.

    With `floats` conv2 computes in them; the int8 variant's does not, and has other kernels. If what is replaced is
    taken by other nodes too, no runtime opens what is returned.
    """
    if "avx512f" not in cpu_flags() or not _fits(layers) or _NAMES.encode() in model:
        return model
    conv1, relu1, pool1, conv2 = layers[:4]
    old, new = Graph(), Graph()
    _convolve(old, NORMALISED, conv1)
    old.node("Relu", [conv1.name], relu1.name)
    old.node("MaxPool", [relu1.name], pool1.name, **_POOLING)
    pooled = _pool_halves(new, conv1)
    channels, height, width = pool1.shape
    if floats:
        _convolve(old, pool1.name, conv2)
        margin = conv2.window.padding
        # Before the halves are joined: zeros right before a convolution ONNX Runtime would make its padding again.
        within = _padded(new, pooled, "within", width=margin)
        _convolve(new, _reshaped(new, within, "joined", -1, channels, height, width + 2 * margin), conv2, sides=False)
    else:
        new.node("Reshape", [pooled, _constant(new, "joined.shape", [-1, channels, height, width])], pool1.name)
    try:
        return swapped(model, old, new)
    except ValueError:  # other nodes compute its layers; or it is no model, which opening it finds out
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


def _convolve(graph: Graph, source: str, layer: Layer, *, sides: bool = True) -> None:
    """A convolution as the file has it, or one of rows that have their zeros; above and below none are added up."""
    kernel, stride, padding = layer.window
    sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding, padding if sides else 0] * 2}
    graph.node("Conv", [source, f"{layer.name}.weight", f"{layer.name}.bias"], layer.name, **sizes)


def _pool_halves(graph: Graph, conv1: Layer) -> str:
    """conv1 of both halves, its ReLU, its pooling: (n, 2 · channels, height / 4, width / 2), both of each channel."""
    channels, height, width = conv1.shape
    kernel, _, padding = conv1.window
    half = height // 2
    rows = np.array([[0], [half]]) + np.arange(half + 2 * padding)  # of each half, and those at its edges

    bordered = _padded(graph, NORMALISED, "bordered", height=padding)
    taken = graph.node("Gather", [bordered, _constant(graph, "rows", rows)], f"{_NAMES}taken", axis=2)
    halves = _reshaped(graph, taken, "halves", -1, *rows.shape, width)

    # Of constants, so it is computed once, when the model is opened. A channel's kernel reads one half or the other.
    weight = _reshaped(graph, f"{conv1.name}.weight", "weight.each", channels, 1, 1, kernel, kernel)
    own = _constant(graph, "own", np.eye(2, dtype=np.float32).reshape(1, 2, 2, 1, 1))
    weight = graph.node("Mul", [weight, own], f"{_NAMES}weight.both")
    weight = _reshaped(graph, weight, "weight", 2 * channels, 2, kernel, kernel)
    bias = _reshaped(graph, f"{conv1.name}.bias", "bias.each", channels, 1)
    bias = graph.node("Mul", [bias, _constant(graph, "twice", np.ones((1, 2), np.float32))], f"{_NAMES}bias.both")
    bias = _reshaped(graph, bias, "bias", 2 * channels)

    sizes = {"kernel_shape": [kernel] * 2, "pads": [0, padding] * 2}
    value = graph.node("Conv", [halves, weight, bias], f"{_NAMES}convolved", **sizes)
    value = graph.node("Relu", [value], f"{_NAMES}positive")
    return graph.node("MaxPool", [value], f"{_NAMES}pooled", **_POOLING)


def _padded(graph: Graph, value: str, name: str, *, height: int = 0, width: int = 0) -> str:
    """A value (n, channels, height, width) with so many zeros before and behind."""
    return graph.node("Pad", [value, _constant(graph, f"{name}.pads", [0, 0, height, width] * 2)], _NAMES + name)


def _reshaped(graph: Graph, value: str, name: str, *shape: int) -> str:
    return graph.node("Reshape", [value, _constant(graph, f"{name}.shape", shape)], _NAMES + name)


def _constant(graph: Graph, name: str, values: ArrayLike) -> str:
    return graph.constant(_NAMES + name, np.asarray(values))
