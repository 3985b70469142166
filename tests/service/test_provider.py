"""The provider policy where no GPU works: asked for by name it is refused with the cause, and `auto` says what it did.

The tests run twice: with the CPU build of ONNX Runtime, which has no GPU provider, and (marked `gpu_runtime`, in an
environment of its own) with the GPU build on a machine without CUDA, which would fall back in silence.
"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import onnxruntime as ort
import pytest
from onnxruntime.capi import _pybind_state as ort_errors
from prometheus_client.parser import text_string_to_metric_families

from service.engine import Engine, usable_gpu
from service.errors import ProviderError
from service.manifest import Manifest
from service.settings import Settings
from tests.service.serving import DATA, Process, process, run_service

_HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()
CAUSES = [
    pytest.param(
        f"the installed ONNX Runtime {ort.__version__} is built without CUDAExecutionProvider",
        id="cpu runtime",
        marks=pytest.mark.skipif(_HAS_CUDA, reason="this is the GPU build"),
    ),
    pytest.param("libcuda.so.1", id="gpu runtime", marks=pytest.mark.gpu_runtime),
]
every_cause = pytest.mark.parametrize("cause", CAUSES)
"""What is missing, and has to be named."""


@pytest.mark.gpu_runtime
def test_this_is_the_environment_that_is_meant() -> None:
    """The GPU build offers CUDA, so that only a look at the session can tell that it does not work."""
    assert _HAS_CUDA


@every_cause
def test_a_gpu_asked_for_by_name_is_refused_with_the_cause(model_bytes: bytes, manifest: Manifest, cause: str) -> None:
    """`cuda` never becomes the CPU: the sentence says what is missing."""
    with pytest.raises(ProviderError) as refusal:
        Engine(model_bytes, manifest, provider="cuda")
    assert str(refusal.value).startswith("provider 'cuda' was asked for and cannot be used: ")
    assert cause in str(refusal.value)


@every_cause
def test_tensorrt_is_refused_with_the_cause(model_bytes: bytes, manifest: Manifest, cause: str) -> None:
    """`tensorrt` becomes neither CUDA nor the CPU."""
    with pytest.raises(ProviderError, match="provider 'tensorrt' was asked for and cannot be used: ") as refusal:
        Engine(model_bytes, manifest, provider="tensorrt")
    assert cause.replace("CUDAExecutionProvider", "TensorrtExecutionProvider") in str(refusal.value)


@every_cause
def test_auto_falls_back_and_knows_why(model_bytes: bytes, manifest: Manifest, cause: str) -> None:
    """`auto` takes the CPU, and keeps the cause."""
    engine = Engine(model_bytes, manifest, provider="auto")
    assert engine.provider == "CPUExecutionProvider"
    assert engine.fallback is not None and cause in engine.fallback
    assert engine._predicting.get_providers() == engine._inspecting.get_providers() == ["CPUExecutionProvider"]


@every_cause
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_the_service_does_not_start_without_the_gpu_asked_for(cause: str, provider: str) -> None:
    """The process ends with an error, and its log has one sentence with the cause, and no traceback."""
    ended = run_service("--provider", provider)
    assert ended.returncode == 3
    assert cause.replace("CUDA", {"cuda": "CUDA", "tensorrt": "Tensorrt"}[provider]) in ended.stderr
    assert f"provider '{provider}' was asked for and cannot be used: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The service with `provider=auto`, its default, asked for through the environment."""
    with process(tmp_path_factory.mktemp("auto") / "log", DIGITSCOPE_PROVIDER="auto") as running:
        yield running


def fallback_metric(url: str) -> float:
    """The value of the metric, read by Prometheus' own parser."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", trust_env=False).text)
    return next(family.samples[0].value for family in families if family.name == "digitscope_provider_fallback")


@every_cause
def test_a_fallback_is_said_everywhere(automatic: Process, cause: str) -> None:
    """The service that fell back answers, and says so in its log, in `/v1/model` and in the metrics."""
    answer = httpx.post(f"{automatic.url}/v1/predict", content=(DATA / "seven.png").read_bytes(), trust_env=False)
    assert answer.status_code == 200
    running = httpx.get(f"{automatic.url}/v1/model", trust_env=False).json()["running"]
    assert (running["provider"], running["asked"]) == ("CPUExecutionProvider", "auto")
    assert cause in running["fallback"]
    lines = [json.loads(line) for line in automatic.log.read_text().splitlines()]
    said = next(line for line in lines if line["event"] == "model open")
    assert said["level"] == "warning" and cause in said["fallback"] and said["provider"] == "CPUExecutionProvider"
    assert fallback_metric(automatic.url) == 1


def test_the_cpu_asked_for_is_no_fallback(server: Process) -> None:
    """Whoever asks for the CPU gets it without a warning, and the metric stays 0."""
    running = httpx.get(f"{server.url}/v1/model", trust_env=False).json()["running"]
    assert (running["provider"], running["asked"], running["fallback"]) == ("CPUExecutionProvider", "cpu", None)
    assert '"warning"' not in server.log.read_text()
    assert fallback_metric(server.url) == 0


def test_auto_is_the_default() -> None:
    """A GPU is taken where one works, with nothing to set."""
    assert Settings().provider == "auto"


def test_tensorrt_is_kept_from_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its library is loaded, NVIDIA's own switch is off: in 10 bits no golden input would be answered right."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda **_: None)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    seen = []

    def load(*_: object, **__: object) -> None:
        seen.append(os.environ.get("NVIDIA_TF32_OVERRIDE"))

    monkeypatch.setattr("service.engine.ctypes.CDLL", load)
    assert usable_gpu("tensorrt")
    assert seen and set(seen) == {"0"}


class _Gpu:
    """ONNX Runtime's session on a GPU that seems usable: `got` is the provider that it has, and no run succeeds."""

    real = ort.InferenceSession
    got = "CUDAExecutionProvider"

    def __new__(cls, *arguments: Any, providers: Sequence[Any], **options: Any) -> Any:
        """The real session where only the CPU is asked for."""
        if list(providers) == ["CPUExecutionProvider"]:
            return cls.real(*arguments, providers=providers, **options)
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def get_providers(self) -> list[str]:
        return [self.got, "CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        pass

    def run(self, *_: object) -> None:
        raise ort_errors.EPFail("no kernel image is available for execution on the device")


@pytest.mark.parametrize(
    ("got", "cause"),
    [
        ("CUDAExecutionProvider", "CUDAExecutionProvider opens the model and cannot run it"),
        ("CPUExecutionProvider", "ONNX Runtime gave CPUExecutionProvider where CUDAExecutionProvider was asked for"),
    ],
)
def test_a_gpu_that_only_seems_usable_is_found_out(
    model_bytes: bytes, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, got: str, cause: str
) -> None:
    """Whether it fails at the first run or is silently no GPU: asked for by name it is refused, and auto says so."""
    monkeypatch.setattr("service.engine._obstacle", lambda _: None)
    monkeypatch.setattr(_Gpu, "got", got)
    monkeypatch.setattr(ort, "InferenceSession", _Gpu)
    with pytest.raises(ProviderError, match=f"^{cause}$"):
        Engine(model_bytes, manifest, provider="cuda")
    engine = Engine(model_bytes, manifest, provider="auto")
    assert (engine.provider, engine.fallback, engine.healthy) == ("CPUExecutionProvider", cause, True)
