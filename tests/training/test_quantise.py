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
from training.quantise import activations, quantise

ACTIVATIONS = ("pool1", "pool2", "fc1_relu")
INTEGER = {"conv2": "pool1", "fc1": "pool2"}  # and what goes into each


@pytest.fixture
def exported(network: DigitNet) -> bytes:
    """The float32 file of a network with random weights."""
    return export(fold(network, 1.5), {"name": "digits", "version": "7"})


@pytest.fixture
def calibration(exported: bytes, digits: Digits) -> dict[str, NDArray[np.float32]]:
    """What its layers that are rounded give for 300 digits."""
    return dict(zip(ACTIVATIONS, run(exported, digits.images[:300], *ACTIVATIONS), strict=True))


@pytest.fixture
def quantised(exported: bytes, calibration: dict[str, NDArray[np.float32]]) -> bytes:
    """The int8 file of that network."""
    return quantise(exported, calibration)


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
    """Its weights are the float32 file's in steps of 1/64 of each unit's largest, rounded to a step next to them.

    Feedback may move one of conv2 by a few steps further, and the biases are moved little.
    """
    held, original = constants(shipped), constants(model_bytes)
    for layer, furthest in {"conv2": 4, "fc1": 0.5001}.items():
        weight, scale = original[f"{layer}.weight"], held[f"{layer}.weight.scale"]
        rows = weight.reshape(len(weight), -1)
        np.testing.assert_allclose(scale * 64, np.abs(rows).max(axis=1), rtol=1e-6)
        assert np.abs(held[f"{layer}.weight"].reshape(rows.shape) - rows / scale[:, None]).max() <= furthest
        bias = held[f"{layer}.bias"] * held[f"{layer}.bias.scale"]
        np.testing.assert_allclose(bias, original[f"{layer}.bias"], atol=0.05)


def test_the_graph_is_the_contract_s(exported: bytes, quantised: bytes) -> None:
    """Well-formed, of ONNX's own operators alone, with the same input, outputs, opset, IR version and properties."""
    model: Any = onnx.load_model_from_string(quantised)
    original: Any = onnx.load_model_from_string(exported)
    checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [(entry.domain, 18 <= entry.version <= 20) for entry in model.opset_import] == [("", True)]
    for field in ("input", "output"):
        assert list(getattr(model.graph, field)) == list(getattr(original.graph, field))
    assert list(model.metadata_props) == list(original.metadata_props)
    assert {node.domain for node in model.graph.node} == {""}
    rounded = ("QuantizeLinear", "DequantizeLinear")
    stored = ("DequantizeLinear", "DequantizeLinear")
    assert [node.op_type for node in model.graph.node] == [
        *("Cast", "Sub", "Div", "Conv", "Relu", "MaxPool"),
        *("Relu", *rounded, *stored, "Conv", *rounded, "MaxPool", "Flatten"),
        *(*rounded, *stored, "Gemm", *rounded, "Gemm", "Softmax"),
    ]


def test_onnx_runtime_computes_both_layers_in_integers(quantised: bytes, tmp_path: Path) -> None:
    """It fuses conv2, pool2 and fc1 into operators on integers, and rounds after pool1, not ahead of it."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4  # it warns that such a file is for this machine alone
    ort.InferenceSession(quantised, options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert {"QLinearConv", "QGemm"} <= set(operators)
    assert (operators.count("Conv"), operators.count("QuantizeLinear"), operators.count("Relu")) == (1, 1, 0)
    assert operators.index("MaxPool") < operators.index("QuantizeLinear") < operators.index("QLinearConv")


def test_all_but_conv2_and_fc1_is_as_it_was(exported: bytes, quantised: bytes) -> None:
    """Every other node and constant is taken over unchanged."""
    before, after = (onnx.load_model_from_string(model).graph for model in (exported, quantised))
    nodes = {node.name: node for node in after.node}
    assert [node.name for node in before.node if nodes[node.name] != node] == ["conv2", "relu2", "fc1", "fc1_relu"]
    for layer in INTEGER:
        original = next(node for node in before.node if node.name == layer)
        assert (nodes[layer].op_type, list(nodes[layer].attribute)) == (original.op_type, list(original.attribute))
    values = {constant.name: constant for constant in after.initializer}
    assert all(
        values[constant.name] == constant
        for constant in before.initializer
        if constant.name.split(".")[0] not in INTEGER
    )


@pytest.mark.parametrize("layer", INTEGER)
def test_integers_cannot_saturate(layer: str, quantised: bytes, calibration: dict[str, NDArray[np.float32]]) -> None:
    """int8 up to 64 with a scale for each unit, so two products fit 16 bits; the bias is int32 in units of the sums."""
    held = constants(quantised)
    weight, scale = held[f"{layer}.weight"], held[f"{layer}.weight.scale"]
    assert weight.dtype == np.int8 and held[f"{layer}.bias"].dtype == np.int32
    assert len(weight) == len(scale) == len(held[f"{layer}.bias"])
    assert np.abs(weight.astype(int)).max() == 64
    assert 2 * 255 * 64 < 2**15
    step = held[f"{INTEGER[layer]}.scale"]
    np.testing.assert_allclose(held[f"{layer}.bias.scale"], scale * step, rtol=1e-6)
    np.testing.assert_allclose(step * 255, calibration[INTEGER[layer]].max(), rtol=1e-6)


def test_it_computes_what_integer_arithmetic_gives(exported: bytes, quantised: bytes, digits: Digits) -> None:
    """pool2 and fc1 after its ReLU are NumPy's: rounded inputs, sums of integers, rounded and clipped to steps."""
    images = digits.images[:200]
    held = constants(quantised)
    (pool1,) = run(exported, images, "pool1")
    pool2, fc1_relu = run(quantised, images, "pool2", "fc1_relu")

    def requantised(sums: NDArray[Any], layer: str, step: NDArray[np.float32]) -> NDArray[Any]:
        return np.clip(np.rint(sums * held[f"{layer}.bias.scale"].astype(np.float64) / step), 0, 255) * step

    steps = np.clip(np.rint(pool1 / held["pool1.scale"]), 0, 255)
    padded = np.pad(steps, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(2, 3))
    sums = np.einsum("ncyxij,ocij->nyxo", windows, held["conv2.weight"], optimize=True) + held["conv2.bias"]
    pooled = requantised(sums, "conv2", held["pool2.scale"]).reshape(200, 7, 2, 7, 2, 32).max(axis=(2, 4))
    flat = np.rint(pool2.reshape(200, -1) / held["pool2.scale"]).astype(np.int64)
    sums = flat @ held["fc1.weight"].T.astype(np.int64) + held["fc1.bias"]
    for found, expected, step in (
        (pool2.transpose(0, 2, 3, 1), pooled, held["pool2.scale"]),
        (fc1_relu, requantised(sums, "fc1", held["fc1_relu.scale"]), held["fc1_relu.scale"]),
    ):
        assert (expected == 0).any() and (expected > 0).any()
        # An input on the edge of two steps may fall to either, which moves a few values by one step.
        differences = np.abs(found - expected)
        assert differences.max() <= 1.001 * step
        assert (differences > 1e-4).mean() < 1e-3


@pytest.mark.parametrize(
    ("layer", "weight", "bias", "target"),
    [("conv2", 0.1, 0, "pool2"), ("conv2", -0.1, 0.02, "pool2"), ("fc1", 0.01, 0, "fc1_relu")],
)
def test_the_largest_sums_do_not_saturate(
    exported: bytes, digits: Digits, layer: str, weight: float, bias: float, target: str
) -> None:
    """With every weight of a layer and most of its inputs at their limits, ONNX Runtime gives what ONNX defines."""
    model = onnx.load_model_from_string(exported)
    for constant in model.graph.initializer:
        for name, value in {f"{layer}.weight": weight, f"{layer}.bias": bias}.items():
            if constant.name == name:
                constant.CopyFrom(numpy_helper.from_array(np.full(tuple(constant.dims), value, np.float32), name))
    source = INTEGER[layer]
    found = dict(zip(ACTIVATIONS, run(model.SerializeToString(), digits.images[:50], *ACTIVATIONS), strict=True))
    found[source] = np.minimum(found[source], np.float32(1e-3))
    found[target] = np.full_like(found[target], 0.02)
    quantised = quantise(model.SerializeToString(), found)
    assert (np.abs(constants(quantised)[f"{layer}.weight"].astype(int)) == 64).mean() > 0.9
    images = np.random.default_rng(5).integers(0, 256, (4, 1, 28, 28), np.uint8)
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(quantised))
    expected: Any = evaluator.run(None, {"image": images}, intermediate=True)
    assert (expected["pool1.relu.quantised" if layer == "conv2" else "flat.quantised"] == 255).mean() > 0.4
    assert (expected[target] > 0).any()
    (reached,) = run(quantised, images, target)
    np.testing.assert_allclose(reached, expected[target], atol=1.001 * 0.02 / 255)


def test_it_is_deterministic(network: DigitNet, digits: Digits) -> None:
    """The same file and digits give the same bytes, by an engine of its own each time."""
    model, manifest = make_manifest(network, 1.5, digits)
    engine = [Engine(model, manifest, provider="cpu") for _ in "ab"]
    made = [quantise(model, activations(some, digits.images[:600])) for some in engine]
    assert made[0] == made[1]


def test_activations_are_those_of_every_image(network: DigitNet, digits: Digits) -> None:
    """In the order of the images, over more than one run, as plain ONNX Runtime computes them."""
    model, manifest = make_manifest(network, 1.5, digits)
    found = activations(Engine(model, manifest, provider="cpu"), digits.images[:600])
    assert tuple(found) == ACTIVATIONS
    for name, expected in zip(ACTIVATIONS, run(model, digits.images[:600], *ACTIVATIONS), strict=True):
        np.testing.assert_allclose(found[name], expected, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_range_that_is_none_is_refused(
    exported: bytes, calibration: dict[str, NDArray[np.float32]], value: float
) -> None:
    """A layer that no digit activates has no scale."""
    with pytest.raises(ReleaseError, match=r"^fc1_relu cannot be quantised: "):
        quantise(exported, calibration | {"fc1_relu": np.full_like(calibration["fc1_relu"], value)})


def test_another_graph_is_refused(
    exported: bytes, quantised: bytes, calibration: dict[str, NDArray[np.float32]]
) -> None:
    """A file that was quantised already, or lacks what is quantised, is told."""
    with pytest.raises(ReleaseError):
        quantise(quantised, calibration)
    model = onnx.load_model_from_string(exported)
    assert model.graph.initializer[-1].data_type == TensorProto.FLOAT
    for constant in model.graph.initializer:
        constant.name = constant.name.replace("fc1.weight", "other")
    with pytest.raises(ReleaseError, match=r"^the graph has no constant fc1\.weight to quantise$"):
        quantise(model.SerializeToString(), calibration)
