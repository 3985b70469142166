"""The engine: the same numbers as ONNX's own definition, and no model, answer or failure that is not looked at."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.capi import _pybind_state as ort_errors

from service.cpus import available_cpus
from service.engine import Engine
from service.errors import EngineError, ModelError
from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.serving import ROOT

Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
LAYERS = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"]


@pytest.fixture(scope="module")
def engine(model_bytes: bytes, manifest: Manifest) -> Engine:
    """The shipped model, open on the CPU."""
    return Engine(model_bytes, manifest, provider="cpu")


@pytest.fixture(scope="module")
def images(mnist: Mnist) -> NDArray[np.uint8]:
    """Twelve real digits as the engine takes them."""
    return mnist.images[:12, None]


@pytest.mark.parametrize("optimise", [True, False])
def test_predictions_are_those_of_onnx(
    model_bytes: bytes, manifest: Manifest, images: NDArray[np.uint8], reference: Reference, optimise: bool
) -> None:
    """Logits and probabilities of real digits are those of ONNX's reference evaluator, graph optimised or not."""
    logits, probabilities = Engine(model_bytes, manifest, provider="cpu", optimise=optimise).predict(images)
    expected = reference(images)
    assert logits.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-5)


def test_inspection_shows_what_onnx_computes(engine: Engine, images: NDArray[np.uint8], reference: Reference) -> None:
    """Every feature map of real digits is that of ONNX's reference evaluator, signs and all."""
    expected = reference(images)
    values = engine.inspect(images, [*LAYERS, "logits", "probabilities"])
    assert list(values) == [*LAYERS, "logits", "probabilities"]
    for name, value in values.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_an_answer_does_not_depend_on_its_batch(engine: Engine, mnist: Mnist, count: int) -> None:
    """A digit's logits are the same alone and among others, so that batching is nobody's business."""
    batch = mnist.images[100 : 100 + count, None]
    together, _ = engine.predict(batch)
    alone = np.concatenate([engine.predict(image[None])[0] for image in batch])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_it_says_what_it_runs_on(engine: Engine, model_bytes: bytes, manifest: Manifest) -> None:
    """Provider and threads are those of the open session; no setting means the CPUs of this process."""
    assert (engine.provider, engine.fallback) == ("CPUExecutionProvider", None)
    assert engine.threads == available_cpus()
    assert Engine(model_bytes, manifest, provider="cpu", threads=1).threads == 1


def test_a_model_that_onnx_runtime_cannot_open_is_refused(manifest: Manifest) -> None:
    """Bytes that are no ONNX file give one sentence."""
    with pytest.raises(ModelError, match=r"^ONNX Runtime cannot open the model$"):
        Engine(b"no model", manifest, provider="cpu")


def test_a_tampered_model_is_refused(model_bytes: bytes, manifest: Manifest) -> None:
    """Weights that were changed a little, in a file that opens well, give wrong answers to the golden inputs."""
    model = onnx.load_from_string(model_bytes)
    bias = next(constant for constant in model.graph.initializer if constant.name == "logits.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
    with pytest.raises(ModelError, match=r"^the golden inputs are answered wrong, by more than 0\.001 in a logit$"):
        Engine(model.SerializeToString(), manifest, provider="cpu")


@pytest.mark.parametrize("change", [0.002, -0.002, float("nan"), float("inf")])
def test_a_golden_answer_that_differs_is_refused(model_bytes: bytes, manifest: Manifest, change: float) -> None:
    """One logit of the last golden input that is off, or no number, is enough."""
    last = manifest.golden[-1]
    wrong = last.model_copy(update={"logits": (*last.logits[:-1], last.logits[-1] + change)})
    other = manifest.model_copy(update={"golden": (*manifest.golden[:-1], wrong)})
    with pytest.raises(ModelError, match="golden inputs are answered wrong"):
        Engine(model_bytes, other, provider="cpu")


def test_a_layer_of_another_shape_is_refused(model_bytes: bytes, manifest: Manifest) -> None:
    """A manifest that promises another shape of a layer is not believed; the sentence names the layer."""
    layers = tuple(
        layer.model_copy(update={"shape": (8, 14, 15)}) if layer.name == "pool1" else layer for layer in manifest.layers
    )
    with pytest.raises(ModelError, match=r"^layer pool1 has another shape than the manifest says$"):
        Engine(model_bytes, manifest.model_copy(update={"layers": layers}), provider="cpu")


@pytest.mark.parametrize("missing", ["image", "probabilities"])
def test_a_model_without_the_contracts_tensors_is_refused(model_bytes: bytes, manifest: Manifest, missing: str) -> None:
    """A model whose input or output has another name opens, but does not answer."""
    model = onnx.load_from_string(model_bytes)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["renamed" if name == missing else name for name in names]
    for value in (*model.graph.input, *model.graph.output):
        value.name = "renamed" if value.name == missing else value.name
    with pytest.raises(ModelError, match=r"^the model does not answer its golden inputs$"):
        Engine(model.SerializeToString(), manifest, provider="cpu")


def test_probabilities_that_are_none_are_refused(model_bytes: bytes, manifest: Manifest) -> None:
    """Values that do not sum to 1, such as those of a sigmoid in the softmax's place, are no probabilities."""
    model = onnx.load_from_string(model_bytes)
    last = model.graph.node[-1]
    assert last.op_type == "Softmax"
    last.CopyFrom(onnx.helper.make_node("Sigmoid", list(last.input), list(last.output)))
    with pytest.raises(ModelError, match=r"^the probabilities of the golden inputs do not sum to 1$"):
        Engine(model.SerializeToString(), manifest, provider="cpu")


@pytest.fixture(scope="module")
def int8(model_folder: Path) -> bytes:
    """The shipped int8 variant."""
    return (model_folder / "model.int8.onnx").read_bytes()


def test_a_variant_predicts_and_float32_is_looked_into(
    model_bytes: bytes, manifest: Manifest, int8: bytes, engine: Engine, images: NDArray[np.uint8]
) -> None:
    """Predictions are plain ONNX Runtime's of the variant's file, and feature maps those of the float32 file."""
    faster = Engine(model_bytes, manifest, provider="cpu", variant=("int8", int8))
    assert (engine.precision, faster.precision) == ("fp32", "int8")
    plain = ort.InferenceSession(int8, providers=["CPUExecutionProvider"])
    for value, expected in zip(faster.predict(images), plain.run(None, {"image": images}), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6)
    assert not np.array_equal(faster.predict(images)[0], engine.predict(images)[0])
    names = [*LAYERS, "logits"]
    for value, expected in zip(
        faster.inspect(images, names).values(), engine.inspect(images, names).values(), strict=True
    ):
        np.testing.assert_array_equal(value, expected)
    assert faster.recover()


def test_a_tampered_variant_is_refused(model_bytes: bytes, manifest: Manifest, int8: bytes) -> None:
    """Weights of another scale, in a file that opens well, give wrong answers to the golden inputs."""
    model = onnx.load_from_string(int8)
    scale = next(constant for constant in model.graph.initializer if constant.name == "fc1.weight.scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.05), scale.name))
    with pytest.raises(ModelError, match=r"^the golden inputs are answered wrong, by more than 0\.05 in a logit$"):
        Engine(model_bytes, manifest, provider="cpu", variant=("int8", model.SerializeToString()))
    with pytest.raises(ModelError, match=r"^ONNX Runtime cannot open the model$"):
        Engine(model_bytes, manifest, provider="cpu", variant=("int8", b"no model"))


@pytest.mark.parametrize("change", [0.06, -0.06, float("nan")])
def test_a_variant_has_golden_answers_of_its_own(
    model_bytes: bytes, manifest: Manifest, int8: bytes, change: float
) -> None:
    """One logit of the last golden input of the variant that is off is enough, and does not matter to float32."""
    promised = manifest.variants["int8"]
    *before, last = promised.golden
    wrong = promised.model_copy(update={"golden": (*before, (*last[:-1], last[-1] + change))})
    other = manifest.model_copy(update={"variants": {"int8": wrong}})
    assert Engine(model_bytes, other, provider="cpu").healthy
    with pytest.raises(ModelError, match=r"^the golden inputs are answered wrong, by more than 0\.05 in a logit$"):
        Engine(model_bytes, other, provider="cpu", variant=("int8", int8))


def test_a_failed_run_is_noticed_and_mended(model_bytes: bytes, manifest: Manifest, images: NDArray[np.uint8]) -> None:
    """After a failure it is not healthy until its golden inputs are answered right again."""
    engine = Engine(model_bytes, manifest, provider="cpu")
    with pytest.raises(EngineError, match=r"^the engine failed on a batch of 12$"):
        engine.predict(images[:, :, :20])
    states = [engine.healthy, engine.recover(), engine.healthy]
    assert states == [False, True, True]
    engine.predict(images)


def test_an_engine_that_stays_broken_is_not_called_healthy(
    model_bytes: bytes, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again does not help as long as the golden inputs fail."""
    engine = Engine(model_bytes, manifest, provider="cpu")

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine._predicting, "run", fail)
    states = [engine.recover(), engine.healthy]
    monkeypatch.undo()
    states += [engine.recover(), engine.healthy]
    assert states == [False, False, True, True]


@pytest.mark.parametrize(
    ("session", "ask"),
    [
        ("_predicting", lambda engine, images: engine.predict(images)),
        ("_inspecting", lambda engine, images: engine.inspect(images, ["conv1"])),
    ],
)
def test_no_session_falls_back_in_mid_run(
    model_bytes: bytes,
    manifest: Manifest,
    images: NDArray[np.uint8],
    session: str,
    ask: Callable[[Engine, NDArray[np.uint8]], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime would answer a provider's failure by a silent change to the CPU; here the failure is said."""
    engine = Engine(model_bytes, manifest, provider="cpu")
    changes: list[Any] = []
    inner = getattr(engine, session)
    own = inner._sess

    class Broken:
        """ONNX Runtime's own session, but that its provider fails."""

        def __getattr__(self, name: str) -> Any:
            return getattr(own, name)

        def run(self, *_: object) -> None:
            raise ort_errors.EPFail("the GPU is gone")

    monkeypatch.setattr(inner, "_sess", Broken())
    monkeypatch.setattr(inner, "set_providers", changes.append)
    with pytest.raises(EngineError) as failure:
        ask(engine, images)
    assert isinstance(failure.value.__cause__, ort_errors.EPFail)
    assert changes == [] and engine.healthy == (session == "_inspecting")  # which costs predictions nothing


_TELEMETRY = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
import service.app
"""


def test_telemetry_is_off_before_onnx_runtime_is_imported() -> None:
    """At the moment when ONNX Runtime is first imported its telemetry is off already, in a fresh process."""
    unset = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", _TELEMETRY]
    told = subprocess.run(command, cwd=ROOT, env=unset, check=True, capture_output=True, text=True)  # noqa: S603
    assert told.stdout == "1\n"
