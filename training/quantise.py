"""The int8 variant of a float32 file: conv2 and fc1 in 8 bits, every other node as it was.

The two have 97 % of the multiply-adds and 99 % of the weights. conv1 stays in float32, since with one input channel
it is slower in 8 bits (the card of version 1 has the figures), and so does the small layer of the ten logits.

The graph is in the form of QuantizeLinear and DequantizeLinear pairs, which are ONNX's own operators and mean the same
in every runtime; ONNX Runtime fuses them with conv2, pool2 and fc1 into operators on integers. B. Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference" (arXiv:1712.05877),
section 2, has the arithmetic.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.engine import Engine
from training.errors import ReleaseError
from training.export import OPERATORS, check_graph
from training.model import ARCHITECTURE
from training.rounding import LARGEST_ACTIVATION, integers

CALIBRATION = 2_000  # training digits
ACTIVATIONS = ("pool1", "pool2", "fc1_relu")  # what goes into conv2, what into fc1, and what comes out after its ReLU
QUANTISED_OPERATORS = OPERATORS | {"QuantizeLinear", "DequantizeLinear"}
_CONVOLVED = 500  # of those digits: conv2 has 196 inputs of each
_BATCH = 500  # images a run


def activations(engine: Engine, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What float32 computes at `ACTIVATIONS` for images uint8 (n, 1, 28, 28) of the training set, each (n, *shape).

    Raises:
        EngineError: a run failed.
    """
    starts = range(0, len(images), _BATCH)
    parts = [engine.inspect(images[start : start + _BATCH], ACTIVATIONS) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in ACTIVATIONS}


def quantise(model: bytes, calibration: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The int8 ONNX model of a float32 one that `training.export` made, the same bytes for the same arguments.

    `calibration` is what `activations` returned. Weights are int8 with a scale for each channel or unit, activations
    uint8 with one scale and zero point 0, up to the largest value that was seen; input, outputs, opset and IR version
    are those of `model`.

    Raises:
        ReleaseError: the graph is not what the contract says, or an activation has no range.
    """
    largest = {name: float(calibration[name].max()) for name in ACTIVATIONS}
    # `not >`: a NaN must fail too.
    if wrong := [name for name in ACTIVATIONS if not largest[name] > 0]:
        raise ReleaseError(f"{' and '.join(wrong)} cannot be quantised: no digit of the calibration activates it")
    steps = {name: np.float32(value / LARGEST_ACTIVATION) for name, value in largest.items()}
    quantised = onnx.load_model_from_string(model)
    graph = _Graph(quantised.graph, steps)
    fields = _receptive_fields(calibration["pool1"][:_CONVOLVED])
    # This ReLU changes nothing, and ONNX Runtime drops it in the end. But before, it moves no quantisation ahead of a
    # ReLU, and so none ahead of pool1, where four times as many values are to be rounded, and pooled outside of the
    # blocked layout: without, the whole graph takes 1.4 times as long at batch 8 and more.
    relu = helper.make_node("Relu", ["pool1"], ["pool1.relu"], name="pool1.relu")
    graph.replace("conv2", relu, *graph.in_integers("conv2", "pool1.relu", "pool1", fields, feedback=True))
    # uint8 with zero point 0 has no negative values, so this is the ReLU as well.
    graph.replace("relu2", *graph.through_uint8("conv2", "pool2", "relu2"))
    # Feedback among 1,568 inputs takes seconds and gains a sixth of what it does in conv2.
    flat = calibration["pool2"].reshape(len(calibration["pool2"]), -1)
    graph.replace("fc1", *graph.in_integers("fc1", "flat", "pool2", flat, feedback=False))
    graph.replace("fc1_relu", *graph.through_uint8("fc1", "fc1_relu", "fc1_relu"))
    check_graph(quantised, QUANTISED_OPERATORS)
    serialised: bytes = quantised.SerializeToString(deterministic=True)
    return serialised


def _receptive_fields(pool1: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every part of pool1 that conv2 multiplies with its weights, a row each, in the order of the weights."""
    layer = next(layer for layer in ARCHITECTURE if layer.name == "conv2")
    kernel, padding = layer.kernel or 1, layer.padding or 0  # the or is for types: a convolution has both
    padded = np.pad(pool1, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, pool1.shape[1] * kernel**2)


class _Graph:
    """A graph whose nodes are replaced, one by one, by such that compute in integers."""

    def __init__(self, graph: onnx.GraphProto, steps: Mapping[str, np.float32]) -> None:
        """`steps` has the scale of each of `ACTIVATIONS`."""
        self._graph = graph
        self._steps = steps
        self._zero = self._constant("zero", np.array(0, np.uint8))
        for name, step in steps.items():
            self._constant(f"{name}.scale", np.array(step))

    def replace(self, name: str, *nodes: onnx.NodeProto) -> None:
        """Puts nodes where the one of that name was."""
        place = next(place for place, node in enumerate(self._graph.node) if node.name == name)
        self._graph.node.remove(self._graph.node[place])
        for offset, node in enumerate(nodes):
            self._graph.node.insert(place + offset, node)

    def through_uint8(self, value: str, activation: str, output: str) -> list[onnx.NodeProto]:
        """The tensor `value` rounded to steps of that activation, from 0 to 255 of them."""
        parameters = [f"{activation}.scale", self._zero]
        steps = f"{value}.quantised"
        return [
            helper.make_node("QuantizeLinear", [value, *parameters], [steps], name=steps),
            helper.make_node("DequantizeLinear", [steps, *parameters], [output], name=output),
        ]

    def in_integers(
        self, name: str, value: str, activation: str, inputs: NDArray[np.float32], *, feedback: bool
    ) -> list[onnx.NodeProto]:
        """The node of that name on the tensor `value` in steps of an activation, of which `inputs` are real rows."""
        weight, bias = self._take(f"{name}.weight"), self._take(f"{name}.bias")
        rows = weight.reshape(len(weight), -1)
        rounded = integers(rows, bias, inputs, self._steps[activation], feedback=feedback)
        layer = onnx.NodeProto()
        layer.CopyFrom(next(node for node in self._graph.node if node.name == name))
        layer.input[0] = f"{value}.dequantised"
        return [
            *self.through_uint8(value, activation, layer.input[0]),
            self._stored(layer, 1, rounded.weight.reshape(weight.shape), rounded.weight_scale),
            self._stored(layer, 2, rounded.bias, rounded.bias_scale),
            layer,
        ]

    def _stored(
        self, layer: onnx.NodeProto, place: int, steps: NDArray[Any], scale: NDArray[np.float32]
    ) -> onnx.NodeProto:
        """What gives a layer its input at that place from a constant in integers, with a scale for each unit."""
        name, output = layer.input[place], f"{layer.input[place]}.dequantised"
        layer.input[place] = output
        inputs = [
            self._constant(name, steps),
            self._constant(f"{name}.scale", scale),
            self._constant(f"{name}.zero", np.zeros(len(scale), steps.dtype)),
        ]
        return helper.make_node("DequantizeLinear", inputs, [output], name=output, axis=0)

    def _take(self, name: str) -> NDArray[np.float32]:
        """Removes a constant of the graph and returns it."""
        found = [constant for constant in self._graph.initializer if constant.name == name]
        if not found:
            raise ReleaseError(f"the graph has no constant {name} to quantise")
        self._graph.initializer.remove(found[0])
        value: NDArray[np.float32] = numpy_helper.to_array(found[0])
        return value

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name
