"""The ONNX file of a folded network, as the contract says, built node by node so that every tensor has its name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference
from torch import Tensor, nn

from service.layer import Layer
from service.manifest import TensorSpec
from training.errors import ReleaseError
from training.model import ARCHITECTURE, CLASSES, SIZE, DigitNet

IR_VERSION = 10  # both pinned: the newest onnx writes what the newest ONNX Runtime refuses
OPSET = 20
INPUT = TensorSpec(name="image", datatype="UINT8", shape=(-1, 1, SIZE, SIZE))
OUTPUTS = (
    TensorSpec(name="logits", datatype="FP32", shape=(-1, CLASSES)),
    TensorSpec(name="probabilities", datatype="FP32", shape=(-1, CLASSES)),
)
OPERATORS = {"Cast", "Sub", "Div", "Conv", "Relu", "MaxPool", "Flatten", "Gemm", "Softmax"}
_ELEMENT_TYPES = {"UINT8": TensorProto.UINT8, "FP32": TensorProto.FLOAT}


def export(folded: DigitNet, metadata: Mapping[str, str]) -> bytes:
    """The serialised ONNX model of a network that `training.fold` returned; its weights are stored in float32.

    Raises:
        ReleaseError: the graph is not what the contract says.
    """
    graph = _Graph()
    value = graph.add("Cast", INPUT.name, "pixels", to=TensorProto.FLOAT)
    value = graph.add("Sub", value, "centred", constants={"mean": np.array(folded.mean, np.float32)})
    value = graph.add("Div", value, "normalised", constants={"std": np.array(folded.std, np.float32)})
    linear = {"fc1": folded.fc1, "logits": folded.fc2}
    convolutions = {"conv1": folded.conv1, "conv2": folded.conv2}
    for layer in ARCHITECTURE:
        if layer.operator == "Conv":
            value = graph.convolution(layer, value, convolutions[layer.name])
        elif layer.operator == "MaxPool":
            kernel, stride = [layer.kernel] * 2, [layer.stride] * 2
            value = graph.add("MaxPool", value, layer.name, kernel_shape=kernel, strides=stride)
        elif layer.operator == "Relu":
            value = graph.add("Relu", value, layer.name)
        else:
            if layer.name == "fc1":
                value = graph.add("Flatten", value, "flat", axis=1)
            value = graph.add(
                "Gemm", value, layer.name, constants=_parameters(layer.name, linear[layer.name]), transB=1
            )
    graph.add("Softmax", value, "probabilities", axis=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "digits", [_value_info(INPUT)], [_value_info(spec) for spec in OUTPUTS], graph.initializers
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="digitscope",
    )
    helper.set_model_props(model, dict(metadata))
    check_graph(model, OPERATORS)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


class _Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(
        self,
        operator: str,
        value: str,
        name: str,
        constants: Mapping[str, NDArray[Any]] | None = None,
        **attributes: object,
    ) -> str:
        """Adds a node that computes tensor `name` from `value` and constants; returns `name`."""
        constants = constants or {}
        self.initializers += [numpy_helper.from_array(constant, key) for key, constant in constants.items()]
        self.nodes.append(helper.make_node(operator, [value, *constants], [name], name=name, **attributes))
        return name

    def convolution(self, layer: Layer, value: str, module: nn.Conv2d) -> str:
        return self.add(
            "Conv",
            value,
            layer.name,
            constants=_parameters(layer.name, module),
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
        )


def _parameters(name: str, module: nn.Conv2d | nn.Linear) -> dict[str, NDArray[Any]]:
    def array(tensor: Tensor | None) -> NDArray[Any]:
        assert tensor is not None  # noqa: S101 — every layer of the architecture has a bias
        return tensor.detach().cpu().float().numpy()

    return {f"{name}.weight": array(module.weight), f"{name}.bias": array(module.bias)}


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    shape = ["batch" if size == -1 else size for size in spec.shape]
    return helper.make_tensor_value_info(spec.name, _ELEMENT_TYPES[spec.datatype], shape)


def check_graph(model: onnx.ModelProto, operators: set[str]) -> None:
    """The contract, read off the graph itself: its operators, its tensors' shapes, one file, well-formed.

    Raises:
        ReleaseError: the graph is not what the contract says.
    """
    found = {node.op_type for node in model.graph.node}
    if found != operators:
        raise ReleaseError(f"the graph has the operators {sorted(found)}, not {sorted(operators)}")
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ReleaseError("the graph keeps weights outside its file")
    try:
        checker.check_model(model, full_check=True)
        inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise ReleaseError(f"ONNX's own checks refuse the graph: {error}") from error
    values = [*inferred.graph.value_info, *inferred.graph.output]
    shapes = {value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim[1:]) for value in values}
    for layer in ARCHITECTURE:
        if shapes.get(layer.name) != layer.shape:
            raise ReleaseError(f"layer {layer.name} has the shape {shapes.get(layer.name)}, not {layer.shape}")
