"""What a model's file is made of: the shipped ones pass, and what the contract does not know is refused unopened."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.errors import ModelError
from service.manifest import Manifest, load_manifest, load_model
from service.scrutiny import check_model
from tests.service.serving import MODELS, VERSION

SHIPPED = [(version, precision) for version in ("1", VERSION) for precision in ("fp32", "int8")]


@pytest.mark.parametrize(("version", "precision"), SHIPPED)
def test_what_is_shipped_passes(version: str, precision: Any) -> None:
    """Every file of every version."""
    folder = MODELS / "digits" / version
    manifest = load_manifest(folder)
    check_model(load_model(folder, manifest, precision), manifest, precision, "it")


def test_a_variant_s_operators_are_no_float32_s(manifest: Manifest) -> None:
    """Only what is quantised may quantise."""
    content = load_model(MODELS / "digits" / VERSION, manifest, "int8")
    with pytest.raises(ModelError, match=r"^it has the operator DequantizeLinear, which is none of those"):
        check_model(content, manifest, "fp32", "it")


def _external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def _merely_located(model: Any) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def _external_attribute(model: Any) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32))
    tensor.external_data.add(key="location", value="weights")
    model.graph.node[0].attribute.append(helper.make_attribute("value", tensor))


def _operator(operator: str, domain: str = "") -> Callable[[Any], None]:
    return lambda model: model.graph.node.append(helper.make_node(operator, ["logits"], ["x"], domain=domain))


def _subgraph(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node[3].attribute.append(helper.make_attribute("then_branch", branch))


def _function(model: Any) -> None:
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("", "Relu", ["x"], ["y"], [], opset))


def _sparse(model: Any) -> None:
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**9]))


def _renamed(model: Any) -> None:
    model.graph.input[0].name = "picture"


def _resized(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 29


def _retyped(model: Any) -> None:
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.DOUBLE


def _more_outputs(model: Any) -> None:
    model.graph.output.append(helper.make_tensor_value_info("conv1", TensorProto.FLOAT, ["n", 8, 28, 28]))


def _sequence(model: Any) -> None:
    model.graph.output.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))


def _many_nodes(model: Any) -> None:
    model.graph.node.extend([helper.make_node("Relu", ["logits"], [f"x{number}"]) for number in range(300)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_external, "keeps weights in another file, which is not read"),
        (_merely_located, "keeps weights in another file, which is not read"),
        (_external_attribute, "keeps weights in another file, which is not read"),
        (_operator("ConstantOfShape"), "has the operator ConstantOfShape, which is none of those that are served"),
        (_operator("Relu", "com.microsoft"), "has an operator of com.microsoft, and only ONNX's own are served"),
        (_subgraph, "has a part of number 6 in its attribute, which is not served"),
        (_function, "has a part of number 25 in its model, which is not served"),
        (_sparse, "has a part of number 15 in its graph, which is not served"),
        (_renamed, "takes no 'image', but its manifest promises it"),
        (_resized, "takes 'image' as something else than UINT8 of shape [-1, 1, 28, 28], as its manifest has it"),
        (_retyped, "gives 'probabilities' as something else than FP32 of shape [-1, 10], as its manifest has it"),
        (_more_outputs, "gives 3 tensors, but its manifest promises 2"),
        (_sequence, "has 's', which is no tensor"),
        (_many_nodes, "has 314 nodes, and at most 256 are served"),
    ],
)
def test_what_the_contract_does_not_know_is_refused(
    model_bytes: bytes, manifest: Manifest, change: Callable[[Any], None], said: str
) -> None:
    """Each is written by the onnx package, and named by its sentence."""
    model = onnx.load_model_from_string(model_bytes)
    change(model)
    with pytest.raises(ModelError) as refused:
        check_model(model.SerializeToString(), manifest, "fp32", "it")
    assert str(refused.value) == f"it {said}"


def test_a_second_graph_is_read_too(model_bytes: bytes, manifest: Manifest) -> None:
    """Protobuf merges what is behind with what is before, and so what is hidden there is found."""
    hidden = onnx.ModelProto()
    hidden.graph.node.append(helper.make_node("Loop", ["a", "b"], ["c"]))
    with pytest.raises(ModelError, match="the operator Loop"):
        check_model(model_bytes + hidden.SerializeToString(), manifest, "fp32", "it")


@cache
def _small() -> tuple[Manifest, bytes]:
    """A manifest, and its model without weights."""
    manifest = load_manifest(MODELS / "digits" / VERSION)
    small = onnx.load_model_from_string(load_model(MODELS / "digits" / VERSION, manifest))
    del small.graph.initializer[:]
    return manifest, small.SerializeToString()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_is_broken_is_refused_by_a_sentence(data: st.DataObject) -> None:
    """Whatever bytes there are, no other error comes of them than that the model is refused."""
    manifest, small = _small()
    content = bytearray(small)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    said = "it passes"
    try:
        check_model(bytes(content), manifest, "fp32", "it")
    except ModelError as error:
        said = str(error)
    assert said.startswith("it ") and said.isprintable()
