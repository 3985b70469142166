"""The int8 variant of a float32 file: fc1's weights in 8 bits, every other node as it was.

fc1 holds 99 % of the weights, so one digit alone mostly waits for their 3.8 MB. The convolutions stay in float32, which
ONNX Runtime computes in blocked layouts near the peak of a core: without VNNI, in 8 bits conv1 is slower and conv2
faster on an undisturbed core alone, and a few digits change (the card of version 1 has the figures).

The graph is in the form of QuantizeLinear and DequantizeLinear pairs, which are ONNX's own operators and mean the same
in every runtime; ONNX Runtime fuses them with fc1 into one integer product. B. Jacob et al., "Quantization and training
of neural networks for efficient integer-arithmetic-only inference" (arXiv:1712.05877), section 2, has the arithmetic.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.engine import Engine
from training.errors import ReleaseError
from training.export import OPERATORS, check_graph

CALIBRATION = 2_000  # training digits
PERCENTILE = 99.999  # of an activation's values: what lies above is clipped, so that the rest has finer steps
ACTIVATIONS = ("pool2", "fc1_relu")  # what goes into fc1, and what comes out after its ReLU
QUANTISED_OPERATORS = OPERATORS | {"QuantizeLinear", "DequantizeLinear"}
# AVX2 adds two products of uint8 and int8 in 16 bits, and saturates where VNNI does not. With weights up to 64 the sum
# is at most 2·255·64 = 32,640 < 2¹⁵, so every CPU gives the same integers.
_LARGEST_WEIGHT = 64
_LARGEST_ACTIVATION = 255
_BATCH = 500  # images a run


def activation_ranges(engine: Engine, images: NDArray[np.uint8]) -> dict[str, float]:
    """The value that each of `ACTIVATIONS` is clipped at, from images uint8 (n, 1, 28, 28) of the training set.

    Raises:
        EngineError: a run failed.
    """
    starts = range(0, len(images), _BATCH)
    parts = [engine.inspect(images[start : start + _BATCH], ACTIVATIONS) for start in starts]
    return {
        name: float(np.percentile(np.concatenate([part[name].ravel() for part in parts]), PERCENTILE))
        for name in ACTIVATIONS
    }


def quantise(model: bytes, ranges: Mapping[str, float]) -> bytes:
    """The int8 ONNX model of a float32 one that `training.export` made, the same bytes for the same arguments.

    `ranges` has the largest value of each of `ACTIVATIONS`, which are not negative. Weights are int8 with a scale for
    each unit of fc1, activations uint8 with one scale and zero point 0; input, outputs, opset and IR version
    are those of `model`.

    Raises:
        ReleaseError: the graph is not what the contract says, or a range is none.
    """
    # `not >`: a NaN must fail too.
    if wrong := [name for name in ACTIVATIONS if not ranges[name] > 0]:
        raise ReleaseError(f"{' and '.join(wrong)} cannot be quantised: no digit of the calibration activates it")
    quantised = onnx.load_model_from_string(model)
    fc1 = _Fc1(quantised.graph)
    steps = {name: np.array(ranges[name] / _LARGEST_ACTIVATION, np.float32) for name in ACTIVATIONS}
    weight, bias = fc1.take("fc1.weight"), fc1.take("fc1.bias")
    largest = np.abs(weight).max(axis=1)
    scale = np.where(largest > 0, largest / _LARGEST_WEIGHT, 1).astype(np.float32)  # any will do for a unit all zero
    units = scale * steps["pool2"]  # of the integer sums, which the bias is added to
    product = [
        fc1.through_uint8("flat", steps["pool2"], "flat.dequantised"),
        fc1.stored("fc1.weight", np.rint(weight / scale[:, None]).astype(np.int8), scale),
        fc1.stored("fc1.bias", np.rint(bias / units).astype(np.int32), units),
    ]
    fc1.node("Gemm", product, "fc1", transB=1)
    # uint8 with zero point 0 has no negative values, so this is the ReLU as well.
    fc1.through_uint8("fc1", steps["fc1_relu"], "fc1_relu")
    fc1.put()
    check_graph(quantised, QUANTISED_OPERATORS)
    serialised: bytes = quantised.SerializeToString(deterministic=True)
    return serialised


class _Fc1:
    """The nodes and constants that stand for fc1 and its ReLU, until they are put into the graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._nodes: list[onnx.NodeProto] = []

    def take(self, name: str) -> NDArray[np.float32]:
        """Removes a constant of the graph and returns it."""
        found = [constant for constant in self._graph.initializer if constant.name == name]
        if not found:
            raise ReleaseError(f"the graph has no constant {name} to quantise")
        self._graph.initializer.remove(found[0])
        value: NDArray[np.float32] = numpy_helper.to_array(found[0])
        return value

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def through_uint8(self, value: str, scale: NDArray[np.float32], output: str) -> str:
        """The tensor `value` rounded to steps of `scale`, from 0 to 255 of them."""
        parameters = [
            self._constant(f"{value}.scale", scale),
            self._constant(f"{value}.zero", np.array(0, np.uint8)),
        ]
        steps = self.node("QuantizeLinear", [value, *parameters], f"{value}.quantised")
        return self.node("DequantizeLinear", [steps, *parameters], output)

    def stored(self, name: str, steps: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """A constant kept as integers, with a scale for each of its first axis."""
        inputs = [
            self._constant(name, steps),
            self._constant(f"{name}.scale", scale),
            self._constant(f"{name}.zero", np.zeros(len(scale), steps.dtype)),
        ]
        return self.node("DequantizeLinear", inputs, f"{name}.dequantised", axis=0)

    def put(self) -> None:
        """Puts the nodes where fc1 and its ReLU were."""
        nodes = []
        for node in self._graph.node:
            if node.name == "fc1":
                nodes += self._nodes
            elif node.name != "fc1_relu":
                nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name
