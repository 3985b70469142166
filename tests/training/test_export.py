"""The ONNX file: what stands in it, and what another runtime makes of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator
from scipy import special

from training.data import Digits
from training.errors import ReleaseError
from training.export import OPERATORS, check_graph, export
from training.fold import fold
from training.model import DigitNet, predict

METADATA = {"name": "digits", "version": "7", "training": '{"seed": 0, "what": "ü"}'}


@pytest.fixture
def model(network: DigitNet) -> Any:
    """The exported network as the onnx package reads it."""
    return onnx.load_model_from_string(export(fold(network, 1.5), METADATA))


def describe(value: Any) -> tuple[str, int, list[str | int]]:
    """Name, element type and shape of a graph's input or output."""
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]


def test_the_graph_is_the_contract_s(model: Any) -> None:
    """IR version, opset, input, outputs, operators and the order and names of its tensors are those of the design."""
    assert model.ir_version == 10
    assert [(entry.domain, 18 <= entry.version <= 20) for entry in model.opset_import] == [("", True)]
    assert [describe(value) for value in model.graph.input] == [("image", TensorProto.UINT8, ["batch", 1, 28, 28])]
    assert [describe(value) for value in model.graph.output] == [
        ("logits", TensorProto.FLOAT, ["batch", 10]),
        ("probabilities", TensorProto.FLOAT, ["batch", 10]),
    ]
    nodes = [(node.op_type, *node.output) for node in model.graph.node]
    assert nodes == [
        ("Cast", "pixels"),
        ("Sub", "centred"),
        ("Div", "normalised"),
        ("Conv", "conv1"),
        ("Relu", "relu1"),
        ("MaxPool", "pool1"),
        ("Conv", "conv2"),
        ("Relu", "relu2"),
        ("MaxPool", "pool2"),
        ("Flatten", "flat"),
        ("Gemm", "fc1"),
        ("Relu", "fc1_relu"),
        ("Gemm", "logits"),
        ("Softmax", "probabilities"),
    ]
    assert [node.name for node in model.graph.node] == [name for _, name in nodes]


def test_the_file_is_whole_and_valid(model: Any) -> None:
    """ONNX's checker passes it, its weights lie in it in float32, and the metadata is what was given."""
    checker.check_model(model, full_check=True)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}
    assert {tensor.data_location for tensor in model.graph.initializer} == {TensorProto.DEFAULT}
    sizes = [int(np.prod(tensor.dims)) for tensor in model.graph.initializer]
    assert sum(sizes) == 953_922 + 2  # mean and standard deviation
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA


def test_the_same_network_gives_the_same_bytes(network: DigitNet) -> None:
    """So the file's SHA-256 stands for the network, and another temperature gives another file."""
    folded = fold(network)
    assert export(folded, METADATA) == export(folded, METADATA)
    assert export(fold(network, 2), METADATA) != export(folded, METADATA)


def test_onnx_s_own_runtime_computes_the_network(network: DigitNet, digits: Digits, model: Any) -> None:
    """On real digits the reference evaluator, written in NumPy, agrees with the folded network in every layer."""
    images = digits.images[:3]
    folded = fold(network, 1.5)
    expected = folded.activations(torch.tensor(images).double())
    names = [*expected, "probabilities"]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names[:-2])
    found = dict(zip(names, ReferenceEvaluator(model).run(names, {"image": images}), strict=True))
    probabilities = found.pop("probabilities")
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[name].detach().numpy(), rtol=0, atol=1e-4, err_msg=name)
    logits = predict(folded, torch.tensor(images)).numpy()
    np.testing.assert_allclose(probabilities, special.softmax(logits, axis=1), rtol=0, atol=1e-5)


def with_identity(model: Any) -> None:
    """Leaves an operator of training in the graph."""
    model.graph.node[4].input[0] = "left"
    model.graph.node.insert(4, helper.make_node("Identity", ["conv1"], ["left"]))


def without_softmax(model: Any) -> None:
    """Ends the graph with the logits."""
    del model.graph.node[-1]
    del model.graph.output[-1]


def with_external_weights(model: Any) -> None:
    """Says that a tensor lies in another file."""
    model.graph.initializer[2].data_location = TensorProto.EXTERNAL


def with_a_wrong_stride(model: Any) -> None:
    """Lets the first pooling overlap, whose map is then one pixel wider."""
    attribute = next(entry for entry in model.graph.node[5].attribute if entry.name == "strides")
    attribute.ints[:] = [1, 1]


def with_a_wrong_padding(model: Any) -> None:
    """Pads the first convolution by more, which the later pooling hides by rounding down."""
    attribute = next(entry for entry in model.graph.node[3].attribute if entry.name == "pads")
    attribute.ints[:] = [1, 1, 2, 2]


def with_an_unknown_input(model: Any) -> None:
    """Has a node take what no other node gives."""
    model.graph.node[6].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (with_identity, r"has the operators \[.*'Identity'.*\], not \["),
        (without_softmax, r"has the operators \[.*\], not \[.*'Softmax'"),
        (with_external_weights, "keeps weights outside its file"),
        (with_a_wrong_stride, "ONNX's own checks refuse the graph"),
        (with_a_wrong_padding, r"layer conv1 has the shape \(8, 29, 29\), not \(8, 28, 28\)"),
        (with_an_unknown_input, "ONNX's own checks refuse the graph"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(model: Any, tamper: Callable[[Any], None], message: str) -> None:
    """Whatever was tampered with is told, and what was not passes."""
    check_graph(model, OPERATORS)
    tamper(model)
    with pytest.raises(ReleaseError, match=message):
        check_graph(model, OPERATORS)
