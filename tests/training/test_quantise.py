"""The int8 file: what stands in it, what other runtimes make of it, and that it keeps its promise."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, numpy_helper
from onnx.reference import ReferenceEvaluator

from service.engine import Engine
from service.manifest import Manifest
from tests.conftest import Mnist
from tests.training.conftest import make_manifest
from training.data import Digits
from training.errors import ReleaseError
from training.export import export
from training.fold import fold
from training.model import DigitNet
from training.quantise import activation_ranges, quantise

RANGES = {"pool2": 6.5, "fc1_relu": 40.0}
KEPT = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flat", "logits", "probabilities"]


@pytest.fixture
def exported(network: DigitNet) -> bytes:
    """The float32 file of a network with random weights."""
    return export(fold(network, 1.5), {"name": "digits", "version": "7"})


@pytest.fixture(scope="session")
def shipped(model_folder: Path) -> bytes:
    """The int8 file of the newest version."""
    return (model_folder / "model.int8.onnx").read_bytes()


def run(model: bytes, images: NDArray[np.uint8], *names: str) -> list[NDArray[np.float32]]:
    """Tensors of a graph by plain ONNX Runtime, with none of the service's code about it."""
    proto: Any = onnx.load_model_from_string(model)
    known = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = [session.run(list(names), {"image": images[start : start + 500]}) for start in range(0, len(images), 500)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def constants(model: bytes) -> dict[str, NDArray[Any]]:
    """The constants of a graph by name."""
    return {c.name: numpy_helper.to_array(c) for c in onnx.load_model_from_string(model).graph.initializer}


def test_the_shipped_variant_keeps_the_promise(
    shipped: bytes, model_bytes: bytes, mnist: Mnist, manifest: Manifest
) -> None:
    """On all 10,000 test digits, by plain ONNX Runtime: accuracy within 0.02 points, the same digit on 99.9 %.

    The manifest has the very figures.
    """
    images = mnist.images[:, None]
    before, after = (run(model, images, "logits")[0].argmax(axis=1) for model in (model_bytes, shipped))
    right_before, right_after = (int((digits == mnist.labels).sum()) for digits in (before, after))
    assert abs(right_after - right_before) <= 2
    assert (before == after).sum() >= 9_990
    promised = manifest.variants["int8"]
    assert promised.agreement == (before == after).mean()
    assert promised.metrics["test_accuracy"] == right_after / 10_000


def test_the_shipped_variant_is_the_float32_file_quantised(shipped: bytes, model_bytes: bytes) -> None:
    """With the ranges that its own scales tell, the same bytes come out of the float32 file."""
    held = constants(shipped)
    scales = {"pool2": held["flat.scale"], "fc1_relu": held["fc1.scale"]}
    assert quantise(model_bytes, {name: float(scale) * 255 for name, scale in scales.items()}) == shipped


def test_the_graph_is_the_contract_s(exported: bytes) -> None:
    """Well-formed, of ONNX's own operators alone, with the same input, outputs, opset, IR version and properties."""
    model: Any = onnx.load_model_from_string(quantise(exported, RANGES))
    original: Any = onnx.load_model_from_string(exported)
    checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [(entry.domain, 18 <= entry.version <= 20) for entry in model.opset_import] == [("", True)]
    for field in ("input", "output"):
        assert list(getattr(model.graph, field)) == list(getattr(original.graph, field))
    assert list(model.metadata_props) == list(original.metadata_props)
    assert {node.domain for node in model.graph.node} == {""}
    assert [node.op_type for node in model.graph.node] == [
        *("Cast", "Sub", "Div", "Conv", "Relu", "MaxPool", "Conv", "Relu", "MaxPool", "Flatten"),
        *("QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "Gemm"),
        *("QuantizeLinear", "DequantizeLinear", "Gemm", "Softmax"),
    ]


def test_all_but_fc1_is_as_it_was(exported: bytes) -> None:
    """Every other node and constant is taken over unchanged."""
    before, after = (onnx.load_model_from_string(model).graph for model in (exported, quantise(exported, RANGES)))
    nodes = {node.name: node for node in after.node}
    assert all(nodes[node.name] == node for node in before.node if node.name in KEPT)
    assert {node.name for node in before.node if "fc1" not in node.name} <= nodes.keys()
    values = {constant.name: constant for constant in after.initializer}
    assert all(values[constant.name] == constant for constant in before.initializer if "fc1" not in constant.name)


def test_weights_are_integers_within_half_a_step(exported: bytes) -> None:
    """int8 up to 64 with a scale for each unit, so two products fit 16 bits; the bias is int32 in units of the sums."""
    before, after = constants(exported), constants(quantise(exported, RANGES))
    weight, scale = after["fc1.weight"], after["fc1.weight.scale"]
    assert weight.dtype == np.int8
    assert (weight.shape, scale.shape) == ((600, 1568), (600,))
    np.testing.assert_array_equal(np.abs(weight.astype(int)).max(axis=1), 64)
    assert 2 * 255 * 64 < 2**15
    error = np.abs(weight * scale[:, None] - before["fc1.weight"])
    assert (error <= scale[:, None] * 0.5001).all()
    units = after["fc1.bias.scale"]
    np.testing.assert_allclose(units, scale * (6.5 / 255), rtol=1e-6)
    assert after["fc1.bias"].dtype == np.int32
    assert (np.abs(after["fc1.bias"] * units - before["fc1.bias"]) <= units * 0.51).all()


def test_it_computes_what_integer_arithmetic_gives(exported: bytes, digits: Digits) -> None:
    """fc1 after its ReLU is NumPy's: rounded inputs, sums of integers, rounded and clipped to steps."""
    quantised = quantise(exported, RANGES)
    images = digits.images[:200]
    (pooled,) = run(exported, images, "pool2")
    steps = np.clip(np.rint(pooled.reshape(200, -1) / np.float32(6.5 / 255)), 0, 255).astype(np.int64)
    held = constants(quantised)
    sums = steps @ held["fc1.weight"].T.astype(np.int64) + held["fc1.bias"]
    expected = np.clip(np.rint(sums * held["fc1.bias.scale"].astype(np.float64) / (40 / 255)), 0, 255) * (40 / 255)
    assert (expected == 0).any() and (expected > 0).any()
    (found,) = run(quantised, images, "fc1_relu")
    # An input on the edge of two steps may fall to either, which moves a few values by one step.
    differences = np.abs(found - expected)
    assert differences.max() <= 1.001 * 40 / 255
    assert (differences > 1e-4).mean() < 1e-3


def test_the_largest_sums_do_not_saturate(exported: bytes) -> None:
    """With every weight and most activations at their limits ONNX Runtime still gives what ONNX defines."""
    model = onnx.load_model_from_string(exported)
    for constant in model.graph.initializer:
        if constant.name == "fc1.weight":
            constant.CopyFrom(numpy_helper.from_array(np.full((600, 1568), 0.01, np.float32), constant.name))
    quantised = quantise(model.SerializeToString(), {"pool2": 1e-3, "fc1_relu": 1568 * 0.01 * 1e-3})
    images = np.random.default_rng(5).integers(0, 256, (4, 1, 28, 28), np.uint8)
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(quantised))
    expected: Any = evaluator.run(None, {"image": images}, intermediate=True)
    assert (expected["flat.quantised"] == 255).mean() > 0.5
    assert (expected["fc1_relu"] > 0).any()
    (logits,) = run(quantised, images, "logits")
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)


def test_it_is_deterministic(network: DigitNet, digits: Digits) -> None:
    """The same file and digits give the same bytes, by an engine of its own each time."""
    model, manifest = make_manifest(network, 1.5, digits)
    made = [
        quantise(model, activation_ranges(Engine(model, manifest, provider="cpu"), digits.images[:600])) for _ in "ab"
    ]
    assert made[0] == made[1]


def test_ranges_clip_one_value_in_a_hundred_thousand(network: DigitNet, digits: Digits) -> None:
    """The range of an activation is the percentile of all its values, over every image."""
    model, manifest = make_manifest(network, 1.5, digits)
    images = digits.images[:600]
    ranges = activation_ranges(Engine(model, manifest, provider="cpu"), images)
    for name, values in zip(("pool2", "fc1_relu"), run(model, images, "pool2", "fc1_relu"), strict=True):
        assert 0.5e-5 <= (values > ranges[name]).mean() <= 1.5e-5


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_range_that_is_none_is_refused(exported: bytes, value: float) -> None:
    """A layer that no digit activates has no scale."""
    with pytest.raises(ReleaseError, match=r"^fc1_relu cannot be quantised: "):
        quantise(exported, RANGES | {"fc1_relu": value})


def test_another_graph_is_refused(exported: bytes) -> None:
    """A file that was quantised already, or lacks what is quantised, is told."""
    with pytest.raises(ReleaseError):
        quantise(quantise(exported, RANGES), RANGES)
    model = onnx.load_model_from_string(exported)
    assert model.graph.initializer[-1].data_type == TensorProto.FLOAT
    for constant in model.graph.initializer:
        constant.name = constant.name.replace("fc1.weight", "other")
    with pytest.raises(ReleaseError, match=r"^the graph has no constant fc1\.weight to quantise$"):
        quantise(model.SerializeToString(), RANGES)
