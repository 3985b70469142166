"""OpenVINO in ONNX Runtime's place: the same file, the same digits, and never without being said.

What needs it installed is marked `openvino` and runs in an environment of its own, which .ci/run makes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from service import openvino
from service.engine import Engine
from service.errors import EngineError, ModelError, ProviderError
from service.manifest import Manifest
from service.openvino import MISSING, SIZES
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.serving import DATA, ROOT, process, run_service

Open = Callable[[str], Engine]
PRECISIONS = ["fp32", "int8", "bf16"]
needs_it = pytest.mark.openvino


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without OpenVINO."""
    monkeypatch.setattr(openvino, "find_spec", lambda _: None)


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("wrong", [{"runtime": "openvino"}, {"precision": "bf16"}])
def test_without_the_extra_it_is_no_setting(wrong: dict[str, Any]) -> None:
    """The sentence says what to install; and `auto` needs nothing."""
    with pytest.raises(ValidationError) as refusal:
        Settings(**wrong)
    (problem,) = refusal.value.errors()
    assert problem["loc"] == ("runtime",)
    assert problem["msg"] == "OpenVINO needs the extra openvino: pip install 'digitscope[openvino]'"
    assert Settings(precision="auto").runtime == "auto"


def test_onnx_runtime_is_not_asked_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names both is told so, whether OpenVINO is there or not."""
    for there in (None, object()):
        monkeypatch.setattr(openvino, "find_spec", lambda _, found=there: found)
        with pytest.raises(ValidationError, match="ONNX Runtime does not compute in bf16 on a CPU: OpenVINO does"):
            Settings(precision="bf16", runtime="onnxruntime")
    assert Settings(precision="bf16").precision == "bf16"


def test_a_wrong_runtime_ends_the_process_with_a_sentence() -> None:
    """The exit status is 2, and there is no traceback."""
    ended = run_service("--precision", "bf16", "--runtime", "onnxruntime")
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert ended.stderr == "service: setting runtime: ONNX Runtime does not compute in bf16 on a CPU: OpenVINO does\n"


@pytest.mark.usefixtures("absent")
def test_without_the_extra_it_does_not_open(model_bytes: bytes, manifest: Manifest) -> None:
    """Never does ONNX Runtime predict in its place, nor with a provider of `auto`."""
    for provider in ("cpu", "auto"):
        with pytest.raises(ProviderError) as refusal:
            Engine(model_bytes, manifest, provider=provider, runtime="openvino")
        assert str(refusal.value) == MISSING


def test_an_openvino_that_does_not_load_is_said(
    model_bytes: bytes, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library of the system's that it lacks is named, and there is no traceback of its own."""

    def fail() -> None:
        raise ImportError("libfoo.so.1: cannot open shared object file")

    monkeypatch.setattr(openvino, "find_spec", lambda _: object())
    monkeypatch.setattr(openvino, "_openvino", fail)
    with pytest.raises(ProviderError, match=r"^OpenVINO is installed and does not load: libfoo\.so\.1"):
        Engine(model_bytes, manifest, provider="cpu", runtime="openvino")


def test_a_precision_that_it_does_not_take_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What OpenVINO says that it compiled for counts, and not what it was asked for."""
    runtime = MagicMock()
    core = runtime.Core.return_value
    core.get_property.return_value = ["FP32", "BF16"]
    core.compile_model.return_value.get_property.return_value.get_type_name.return_value = "f32"
    monkeypatch.setattr(openvino, "find_spec", lambda _: object())
    monkeypatch.setattr(openvino, "version", lambda _: "1")
    monkeypatch.setattr(openvino, "_openvino", lambda: runtime)
    openvino.OpenVino(b"", "image", {}, threads=1, bfloat16=False)
    with pytest.raises(ProviderError, match=r"^OpenVINO computes in f32 where bf16 was asked for$"):
        openvino.OpenVino(b"", "image", {}, threads=1, bfloat16=True)


def test_it_takes_no_gpus_place(model_bytes: bytes, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a GPU is taken, a runtime for CPUs is refused by name."""
    monkeypatch.setattr("service.engine._obstacle", lambda _: None)
    sentence = "^runtime 'openvino' is for a CPU, and the provider is CUDAExecutionProvider$"
    with pytest.raises(ProviderError, match=sentence):
        Engine(model_bytes, manifest, runtime="openvino")


def test_bfloat16_is_of_the_float32_file_alone(model_bytes: bytes, manifest: Manifest) -> None:
    """Neither does ONNX Runtime compute in it, nor is a variant called what it is not."""
    for wrong in ({"runtime": "onnxruntime"}, {"runtime": "openvino", "variant": ("int8", b"")}):
        with pytest.raises(ProviderError, match="precision 'bf16' is of the float32 file in OpenVINO alone"):
            Engine(model_bytes, manifest, provider="cpu", bfloat16=True, **wrong)


@pytest.fixture(scope="module")
def files(model_folder: Path) -> dict[str, bytes]:
    """The file of each precision."""
    model = (model_folder / "model.onnx").read_bytes()
    return {"fp32": model, "int8": (model_folder / "model.int8.onnx").read_bytes(), "bf16": model}


@pytest.fixture(scope="module")
def opened(files: dict[str, bytes], manifest: Manifest) -> Open:
    """Opens a precision; bf16 also on a CPU whose instructions only imitate it, so that its answers can be judged."""

    def open_in(precision: str) -> Engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openvino, "computes_bfloat16", lambda _: True)
            return Engine(
                files["fp32"],
                manifest,
                provider="cpu",
                threads=1,
                variant=("int8", files["int8"]) if precision == "int8" else None,
                runtime="openvino",
                bfloat16=precision == "bf16",
            )

    return open_in


@needs_it
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_keeps_the_promise(opened: Open, files: dict[str, bytes], mnist: Mnist, plain: Any, precision: str) -> None:
    """Of 10,000 test digits it reads as many right as float32 in ONNX Runtime, within 0.02 points, and 99.9 % alike.

    And its logits are near those of ONNX Runtime for the same file.
    """
    engine = opened(precision)
    assert (engine.precision, engine.runtime, engine.provider) == (precision, "openvino", "CPUExecutionProvider")
    same = ort.InferenceSession(files[precision], providers=["CPUExecutionProvider"])
    digits = np.split(mnist.images[:, None], 20)
    found, right, expected = (
        np.concatenate([ask(part) for part in digits])
        for ask in (
            lambda part: engine.predict(part)[0],
            lambda part: same.run(["logits"], {"image": part})[0],
            lambda part: plain.run(["logits"], {"image": part})[0],
        )
    )
    read, before = found.argmax(axis=1), expected.argmax(axis=1)
    assert abs(int((read == mnist.labels).sum()) - int((before == mnist.labels).sum())) <= 2
    assert int((read == before).sum()) >= 9_990
    # In int8 a value between two steps may be rounded to either; bfloat16 has 8 bits.
    assert np.abs(found - right).max() <= {"fp32": 1e-4, "int8": 0.05, "bf16": 0.2}[precision]


@needs_it
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_of_any_size_gets_its_own_answers(
    opened: Open, files: dict[str, bytes], mnist: Mnist, precision: str
) -> None:
    """Below, at and above each size that it is compiled for, they are those of a plain session of ONNX Runtime."""
    engine = opened(precision)
    session = ort.InferenceSession(files[precision], providers=["CPUExecutionProvider"])
    for count in (*range(1, SIZES[-1] + 2), 2 * SIZES[-1], 100):
        images = mnist.images[count : 2 * count, None]
        expected = session.run(["logits", "probabilities"], {"image": images})
        for found, right in zip(engine.predict(images), expected, strict=True):
            assert found.shape == right.shape and found.dtype == right.dtype
            np.testing.assert_allclose(found, right, atol=1e-4 if precision == "fp32" else 0.05)


@needs_it
def test_what_it_answered_stays(opened: Open, mnist: Mnist) -> None:
    """An answer is no view of the buffers, which the next batch overwrites; and the images are not written to."""
    engine = opened("int8")
    for count in (1, 5, 40):
        images = mnist.images[:count, None]
        assert not images.flags.writeable
        kept = engine.predict(images)
        first = [value.copy() for value in kept]
        engine.predict(mnist.images[count : 2 * count, None])
        for value, before in zip(kept, first, strict=True):
            np.testing.assert_array_equal(value, before)


@needs_it
def test_threads_that_ask_at_once_get_their_own(opened: Open, mnist: Mnist) -> None:
    """One waits for the other: the buffers are one batch's at a time."""
    engine = opened("int8")
    parts = [mnist.images[start : start + 7, None] for start in range(0, 700, 7)]
    alone = [engine.predict(part)[0] for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(lambda part: engine.predict(part)[0], parts), alone, strict=True):
            np.testing.assert_array_equal(found, right)


@needs_it
def test_what_looks_inside_is_onnx_runtimes(opened: Open, model_bytes: bytes, manifest: Manifest, mnist: Mnist) -> None:
    """Feature maps are bit for bit those of an engine without OpenVINO."""
    names = [layer.name for layer in manifest.features]
    images = mnist.images[:3, None]
    usual = Engine(model_bytes, manifest, provider="cpu", threads=1).inspect(images, names)
    for name, value in opened("int8").inspect(images, names).items():
        np.testing.assert_array_equal(value, usual[name])


@needs_it
def test_a_failed_run_is_noticed_and_mended(opened: Open, mnist: Mnist) -> None:
    """After a failure it is not healthy until its golden inputs are answered right again."""
    engine = opened("int8")
    with pytest.raises(EngineError, match=r"^the engine failed on a batch of 12$"):
        engine.predict(mnist.images[:12, None, :20])
    assert [engine.healthy, engine.recover(), engine.healthy] == [False, True, True]


@needs_it
def test_a_file_that_is_not_right_is_refused(files: dict[str, bytes], manifest: Manifest) -> None:
    """One that is no model, and one whose weights are of another scale: its golden inputs get wrong answers."""
    model = onnx.load_from_string(files["int8"])
    scale = next(constant for constant in model.graph.initializer if constant.name == "fc1.weight.scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.05), scale.name))
    for wrong, sentence in (
        (b"no model", "^OpenVINO cannot open the model$"),
        (model.SerializeToString(), r"^the golden inputs are answered wrong, by more than 0\.05 in a logit$"),
    ):
        with pytest.raises(ModelError, match=sentence):
            Engine(files["fp32"], manifest, provider="cpu", variant=("int8", wrong), runtime="openvino")


@needs_it
def test_bfloat16_is_refused_where_the_cpu_has_none(
    model_bytes: bytes, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imitation is many times slower, so the CPU is named instead; with a provider of `auto` just so."""
    monkeypatch.setattr(openvino, "computes_bfloat16", lambda _: False)
    for provider in ("cpu", "auto"):
        with pytest.raises(
            ProviderError, match=r"^precision 'bf16' was asked for, and this CPU does not compute in it: "
        ):
            Engine(model_bytes, manifest, provider=provider, runtime="openvino", bfloat16=True)


@needs_it
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the system's own word on its CPU is Linux'")
def test_which_cpu_has_bfloat16() -> None:
    """OpenVINO offers it on the CPUs in whose flags the system lists it."""
    flags = Path("/proc/cpuinfo").read_text().split()
    has = bool({"avx512_bf16", "amx_bf16", "avx_ne_convert"} & set(flags))
    assert openvino.computes_bfloat16(openvino._openvino().Core()) == has


_SILENT = """
import sys
calls = []
watched = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.posix_spawn", "os.fork")
sys.addaudithook(lambda event, _: calls.append(event) if event in watched else None)
from service.candidate import open_version
from service.settings import Settings
engine = open_version(Settings(provider="cpu", precision="int8", runtime="openvino"), "2")
sender = [name for name in sys.modules if name.startswith("openvino_telemetry")]
print(engine.openvino is not None, calls, sender)
"""


@needs_it
def test_it_reports_to_nobody(tmp_path: Path) -> None:
    """OpenVINO's sender of what is used is not even imported: nothing is connected to, started, or left in the home."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", _SILENT]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)  # noqa: S603
    assert done.stdout == "True [] []\n", done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_it
@pytest.mark.parametrize(
    ("flags", "precision", "runtime"),
    [
        (("--precision", "int8", "--runtime", "openvino", "--workers", "2"), "int8", "openvino"),
        (("--runtime", "openvino"), "fp32", "openvino"),
        (("--precision", "int8"), "int8", "onnxruntime"),
        (("--precision", "auto", "--workers", "1"), "int8", None),
    ],
)
def test_what_predicts_is_said_everywhere(
    tmp_path: Path, flags: tuple[str, ...], precision: str, runtime: str | None
) -> None:
    """The log, `/v1/model` and the metrics tell the same, of which `auto` chooses; and digits are read right by it."""
    picture = (DATA / "seven.png").read_bytes()
    with process(tmp_path / "log", "--provider", "cpu", *flags) as running:
        with httpx.Client(base_url=running.url, trust_env=False) as client:
            assert client.post("/v1/predict", content=picture).json()["predictions"][0]["digit"] == 7
            told = client.get("/v1/model").json()["running"]
            metrics = client.get("/metrics").text
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert (told["precision"], told["runtime"]) == (precision, runtime or told["runtime"])
    assert (told["openvino"] is not None) == (told["runtime"] == "openvino")
    for line in (line for line in lines if line["event"] == "model open"):
        assert [line[name] for name in ("precision", "runtime", "openvino")] == [
            told[name] for name in ("precision", "runtime", "openvino")
        ]
    (info,) = (
        family.samples[0].labels
        for family in text_string_to_metric_families(metrics)
        if family.name == "digitscope_model_info"
    )
    assert (info["precision"], info["runtime"]) == (precision, told["runtime"])
    assert any(line["event"] == "runtimes compared" for line in lines) == (runtime is None)
