"""ONNX graphs made as bytes, read by the onnx package and run by ONNX Runtime."""

import contextlib
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from service.errors import EngineError
from service.graph import Attribute, Graph, swapped
from service.runtime import Session

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
ATTRIBUTES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6),
)
TENSORS = st.sampled_from([np.float32, np.int64]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


def model() -> bytes:
    """A model that doubles its input, and then adds the input to that."""
    nodes = [helper.make_node("Add", ["x", "x"], ["double"]), helper.make_node("Add", ["double", "x"], ["triple"])]
    x, triple = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "triple"))
    made = helper.make_model(
        helper.make_graph(nodes, "sums", [x], [triple]), ir_version=10, opset_imports=[helper.make_opsetid("", 20)]
    )
    serialized: bytes = made.SerializeToString()
    return serialized


@settings(deadline=None, max_examples=60)
@given(st.lists(NAMES, max_size=12))
@example(["a" * 127, "b" * 128, "c" * 20_000, "ü" * 64, "层/1:0"])
def test_the_onnx_package_reads_the_same_model_with_further_outputs(names: list[str]) -> None:
    """Whatever the names, also beyond 127 bytes and ASCII, they follow the outputs, and all else is as it was."""
    before = model()
    after = Graph().outputs(*names).behind(before)
    assert after.startswith(before)
    original: Any = onnx.load_model_from_string(before)
    merged: Any = onnx.load_model_from_string(after)
    assert [output.name for output in merged.graph.output] == ["triple", *names]
    del merged.graph.output[1:]
    assert merged == original


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), ATTRIBUTES, max_size=4))
def test_a_node_is_the_one_that_the_onnx_package_makes(attributes: dict[str, Attribute]) -> None:
    """Inputs, outputs, operator, and attributes of every type, negative numbers and empty texts among them."""
    graph = Graph()
    assert graph.node("Op", ["a", "", "b"], ["c", "d"], **attributes) == "c"
    made: Any = onnx.load_model_from_string(graph.alone("test")).graph.node[0]
    expected: Any = helper.make_node("Op", ["a", "", "b"], ["c", "d"])
    expected.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    assert made == expected


@settings(deadline=None, max_examples=100)
@given(TENSORS)
@example(np.array([[1, 2], [3, 4]], np.float32).T)
def test_a_constant_has_its_values_and_type(values: Any) -> None:
    """Of every shape and type, scalars, empty ones and ones that are not contiguous."""
    graph = Graph()
    assert graph.constant("c", values) == "c"
    tensor = onnx.load_model_from_string(graph.alone("test")).graph.initializer[0]
    found = numpy_helper.to_array(tensor)
    assert tensor.name == "c" and found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_a_model_of_its_own_passes_the_checks_of_onnx() -> None:
    """Its versions are those that are pinned, its inputs have their types and axes, and ONNX Runtime computes it."""
    graph = Graph()
    value = graph.input("x", "float32", ["n", 3])
    value = graph.node("Mul", [value, graph.constant("two", np.full(3, 2, np.float32))], "y")
    made: Any = onnx.load_model_from_string(graph.outputs(value).alone("twice"))
    assert (made.ir_version, made.opset_import[0].version, made.graph.name) == (10, 20, "twice")
    assert made.graph.input[0] == helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]))
    onnx.checker.check_model(made, full_check=True)
    values = Session(graph.alone("twice")).run(["y"], {"x": np.array([[1, 2, 3]], np.float32)})
    assert values["y"].tolist() == [[2, 4, 6]]


def test_the_further_outputs_can_be_run() -> None:
    """ONNX Runtime gives the inner tensor beside the output, of the type that it infers."""
    session = ort.InferenceSession(Graph().outputs("double").behind(model()), providers=["CPUExecutionProvider"])
    triple, double = session.run(["triple", "double"], {"x": np.array([1, 5], np.float32)})
    assert double.tolist() == [2, 10]
    assert triple.tolist() == [3, 15]


def test_further_nodes_use_the_tensors_of_the_model() -> None:
    """A node behind the model takes its inner tensor, and an input with a default may be given or left out."""
    graph = Graph()
    factor = graph.constant(graph.input("factor", "float32", [1]), np.array([10], np.float32))
    graph.outputs(graph.node("Mul", ["double", factor], "scaled"))
    session = Session(graph.behind(model()))
    x = np.array([1, 5], np.float32)
    assert session.run(["scaled"], {"x": x})["scaled"].tolist() == [20, 100]
    assert session.run(["scaled"], {"x": x, "factor": np.array([-1], np.float32)})["scaled"].tolist() == [-2, -10]


def test_a_tensor_that_is_not_there_is_found_out() -> None:
    """The bytes are made all the same, and ONNX Runtime refuses the model; a run that fails is said as well."""
    with pytest.raises(EngineError):
        Session(Graph().outputs("nowhere").behind(model()))
    with pytest.raises(EngineError):
        Session(model()).run(["triple"], {"x": np.zeros((2, 2), np.uint8)})


def doubling(**attributes: Attribute) -> Graph:
    """The first node of the model, with such attributes."""
    graph = Graph()
    graph.node("Add", ["x", "x"], "double", **attributes)
    return graph


def test_parts_stand_in_the_place_of_nodes() -> None:
    """The onnx package reads the model with them, in order, and all else of it is as it was; so it computes."""
    graph = Graph()
    graph.node("Mul", ["x", graph.constant("ten", np.array([10], np.float32))], "double")
    before: Any = onnx.load_model_from_string(model())
    after: Any = onnx.load_model_from_string(swapped(model(), doubling(), graph))
    onnx.checker.check_model(after, full_check=True)
    assert [node.op_type for node in after.graph.node] == ["Mul", "Add"]
    assert after.graph.node[1:] == before.graph.node[1:] and after.opset_import == before.opset_import
    assert (after.graph.input, after.graph.output) == (before.graph.input, before.graph.output)
    assert Session(after.SerializeToString()).run(["triple"], {"x": np.ones(1, np.float32)})["triple"] == [11]


def test_a_node_is_known_by_what_it_computes() -> None:
    """By operator, inputs in order, outputs and attributes; neither its name nor the order of the attributes counts."""
    made: Any = onnx.load_model_from_string(model())
    node = made.graph.node[0]
    node.name, node.doc_string = "first", "doubles"
    node.attribute.extend(helper.make_attribute(name, value) for name, value in (("b", 1), ("a", [3, 2])))
    content: bytes = made.SerializeToString()
    assert swapped(content, doubling(a=[3, 2], b=1), Graph()) != content
    other, turned = Graph(), Graph()
    other.node("Mul", ["x", "x"], "double", a=[3, 2], b=1)
    turned.node("Add", ["x", "x"], "triple", a=[3, 2], b=1)
    for unlike in (
        doubling(),
        doubling(a=[2, 3], b=1),
        doubling(a=[3, 2], b=2),
        doubling(a=[3, 2], c=1),
        other,
        turned,
    ):
        with pytest.raises(ValueError, match="no such nodes"):
            swapped(content, unlike, Graph())


@settings(deadline=None)
@given(st.integers(0, len(model()) - 1), st.binary(max_size=3), st.binary(max_size=40))
def test_what_is_no_model_is_said(end: int, inserted: bytes, nonsense: bytes) -> None:
    """Of a model that is cut, of one with bytes in its midst, and of bytes of all kinds nothing else is raised."""
    for broken in (model()[:end], model()[:end] + inserted + model()[end:], nonsense):
        with contextlib.suppress(ValueError):
            swapped(broken, doubling(), Graph())
    for wrong in (b"", model()[:-1], bytes([0x0B]), bytes([0x0D, 1]), bytes([0x09]) + bytes(8), b"\xff" * 1000):
        with pytest.raises(ValueError, match=r"protobuf|no such nodes"):
            swapped(wrong, doubling(), Graph())
