"""The weights of the network that serves, against its ONNX file and against folding by NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import load_file

from service.candidate import open_version
from service.engine import Engine
from service.errors import MalformedError, UnknownError
from service.inside.kernels import as_json, choose_kernels
from service.manifest import Manifest
from service.settings import Settings
from tests.service.serving import MODELS, VERSION

SHAPES = {"conv1": (8, 1, 3, 3), "conv2": (32, 8, 5, 5), "fc1": (600, 1568), "logits": (10, 600)}
SOURCES = {"conv1": "image", "conv2": "pool1", "fc1": "pool2", "logits": "fc1_relu"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """An engine of the newest version."""
    return open_version(Settings(models=MODELS, provider="cpu"), VERSION)


def unfolded(folder: Path, name: str, temperature: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias in float64, from the network as it was trained: W·γ/√(σ² + ε), (b − μ)·γ/√(σ² + ε) + β."""
    trained = {key: value.astype(np.float64) for key, value in load_file(folder / "checkpoint.safetensors").items()}
    module = "fc2" if name == "logits" else name
    weight, bias = trained[f"{module}.weight"], trained[f"{module}.bias"]
    if name.startswith("conv"):
        norm = name.replace("conv", "norm")
        factor = trained[f"{norm}.weight"] / np.sqrt(trained[f"{norm}.running_var"] + 1e-5)
        return (
            weight * factor[:, None, None, None],
            (bias - trained[f"{norm}.running_mean"]) * factor + trained[f"{norm}.bias"],
        )
    return (weight / temperature, bias / temperature) if name == "logits" else (weight, bias)


@pytest.mark.parametrize("name", SHAPES)
def test_they_are_those_of_the_file(engine: Engine, model_bytes: bytes, name: str) -> None:
    """Every bit of weight and bias is what the onnx package reads as the inputs of the layer's node."""
    graph: Any = onnx.load_from_string(model_bytes).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (node,) = [node for node in graph.node if list(node.output) == [name]]
    arrays = choose_kernels(engine.manifest, name, []).of(engine.parameters)
    for kind, constant in zip(("weight", "bias"), node.input[1:], strict=True):
        np.testing.assert_array_equal(arrays[kind], constants[constant], strict=True)


@pytest.mark.parametrize("name", SHAPES)
def test_they_are_the_trained_ones_folded(engine: Engine, model_folder: Path, name: str) -> None:
    """Within float32's rounding, they are what NumPy makes of the unfolded network in float64."""
    arrays = choose_kernels(engine.manifest, name, []).of(engine.parameters)
    weight, bias = unfolded(model_folder, name, engine.manifest.temperature)
    assert arrays["weight"].shape == weight.shape == SHAPES[name]
    for values, exact in ((arrays["weight"], weight), (arrays["bias"], bias)):
        assert np.abs(values - exact).max() <= 2**-23 * np.abs(exact).max()


@pytest.mark.parametrize("name", SHAPES)
def test_json_says_what_they_are_of(engine: Engine, name: str) -> None:
    """Layer, what is folded in, the layer before with its shape, and the chosen outputs with their weights."""
    kernels = choose_kernels(engine.manifest, name, ["1,4-5"])
    described = as_json(kernels, engine.parameters)
    assert described["name"] == name and described["channels"].tolist() == [1, 4, 5]
    folded = {"fc1": None, "logits": "temperature"}.get(name, "BatchNorm")
    assert described["folded"] == folded
    assert described["source"]["name"] == SOURCES[name]
    assert np.prod(described["source"]["shape"]) == {"conv1": 784, "conv2": 1568}.get(name, SHAPES[name][1])
    assert described["shape"] == described["weight"].shape == kernels.shape == (3, *SHAPES[name][1:])
    np.testing.assert_array_equal(described["weight"], engine.parameters[f"{name}.weight"][[1, 4, 5]])
    np.testing.assert_array_equal(described["bias"], engine.parameters[f"{name}.bias"][[1, 4, 5]])


@pytest.mark.parametrize("name", ["relu1", "pool2", "fc1_relu"])
def test_a_layer_without_weights_has_none(manifest: Manifest, name: str) -> None:
    """The sentence names those that have."""
    with pytest.raises(UnknownError) as refusal:
        choose_kernels(manifest, name, [])
    assert str(refusal.value) == f"layer {name} has no weights; it is to be one of conv1, conv2, fc1, logits"


def test_an_unknown_layer_or_channel_is_refused(manifest: Manifest) -> None:
    """Neither is a weight made up, nor a long name repeated in full."""
    said = f"^the model has no layer '{'x' * 40}'; it has conv1, .*, logits$"
    with pytest.raises(UnknownError, match=said):
        choose_kernels(manifest, "x" * 500, [])
    with pytest.raises(MalformedError, match=r"^channels: logits has 0 to 9, and 10 is asked for$"):
        choose_kernels(manifest, "logits", ["10"])
