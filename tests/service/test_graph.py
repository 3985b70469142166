"""Further outputs of a model, appended as bytes and read by the onnx package."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.graph import with_outputs

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


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
    after = with_outputs(before, names)
    assert after.startswith(before)
    original: Any = onnx.load_model_from_string(before)
    merged: Any = onnx.load_model_from_string(after)
    assert [output.name for output in merged.graph.output] == ["triple", *names]
    del merged.graph.output[1:]
    assert merged == original


def test_the_further_outputs_can_be_run() -> None:
    """ONNX Runtime gives the inner tensor beside the output, of the type that it infers."""
    session = ort.InferenceSession(with_outputs(model(), ["double"]), providers=["CPUExecutionProvider"])
    triple, double = session.run(["triple", "double"], {"x": np.array([1, 5], np.float32)})
    assert double.tolist() == [2, 10]
    assert triple.tolist() == [3, 15]


def test_a_tensor_that_is_not_there_is_found_out() -> None:
    """The bytes are appended all the same, and ONNX Runtime refuses the model."""
    with pytest.raises(Exception, match="nowhere"):  # its exceptions share no other root
        ort.InferenceSession(with_outputs(model(), ["nowhere"]), providers=["CPUExecutionProvider"])
