"""Which runtime predicts where that is left to the service: OpenVINO where it is right, and faster by a tenth."""

from itertools import cycle
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray

from service import choice
from service.candidate import open_version
from service.choice import open_faster
from service.engine import Engine, Runtime
from service.errors import ModelError, ProviderError
from service.manifest import Manifest
from service.settings import Settings
from tests.service.serving import MODELS, VERSION


class Clock:
    """A clock that only engines move on."""

    now = 0.0

    def perf_counter(self) -> float:
        """The time."""
        return self.now


class Paced:
    """An engine whose runs take given times in turn, some of them disturbed."""

    def __init__(self, clock: Clock, manifest: Manifest, runtime: Runtime, *seconds: float) -> None:
        self.provider = "CPUExecutionProvider"
        self.manifest = manifest
        self.runtime = runtime
        self.batches: list[tuple[int, ...]] = []
        self._clock = clock
        self._seconds = cycle(seconds)

    def predict(self, images: NDArray[np.uint8]) -> None:
        """Takes its time."""
        self.batches.append(images.shape)
        self._clock.now += next(self._seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the choice reads the time from, where OpenVINO is installed."""
    clock = Clock()
    monkeypatch.setattr(choice, "time", clock)
    monkeypatch.setattr(choice, "installed", lambda: True)
    return clock


def chosen(engines: dict[Runtime, Any]) -> Any:
    """The engine that is taken."""
    return open_faster(lambda runtime: cast("Engine", engines[runtime]))


@pytest.mark.parametrize(
    ("usual", "other", "taken"),
    [
        ((8.0,), (4.0,), "openvino"),
        ((8.0, 30.0), (7.0, 90.0), "openvino"),
        ((8.0, 90.0), (7.5,), "onnxruntime"),
        ((8.0,), (8.0,), "onnxruntime"),
        ((4.0,), (8.0,), "onnxruntime"),
    ],
)
def test_the_faster_is_taken_if_it_is_worth_it(
    clock: Clock, manifest: Manifest, usual: tuple[float, ...], other: tuple[float, ...], taken: str
) -> None:
    """By the least disturbed runs of batches of real digits, as many as a full batch has; what was found is logged."""
    engines: dict[Runtime, Any] = {
        "onnxruntime": Paced(clock, manifest, "onnxruntime", *usual),
        "openvino": Paced(clock, manifest, "openvino", *other),
    }
    with structlog.testing.capture_logs() as lines:
        assert chosen(engines).runtime == taken
    assert lines == [
        {"event": "runtimes compared", "log_level": "info", "openvino_gain": round(min(usual) / min(other), 2)}
    ]
    assert {shape for engine in engines.values() for shape in engine.batches} == {(64, 1, 28, 28)}


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "failure",
    [ModelError("the golden inputs are answered wrong"), ProviderError("OpenVINO is installed and does not load")],
)
def test_one_that_answers_wrong_or_not_at_all_is_not_taken(failure: Exception) -> None:
    """It is said, and ONNX Runtime serves."""
    usual = SimpleNamespace(provider="CPUExecutionProvider")

    def open_with(runtime: Runtime) -> Engine:
        if runtime == "openvino":
            raise failure
        return cast("Engine", usual)

    with structlog.testing.capture_logs() as lines:
        assert open_faster(open_with) is cast("Engine", usual)
    assert lines == [
        {
            "event": "OpenVINO is not taken",
            "log_level": "warning",
            "cause": str(failure),
        }
    ]


@pytest.mark.parametrize(("there", "provider"), [(False, "CPUExecutionProvider"), (True, "CUDAExecutionProvider")])
def test_it_is_not_opened_where_it_cannot_be_taken(monkeypatch: pytest.MonkeyPatch, there: bool, provider: str) -> None:
    """Neither without the extra nor where a GPU predicts."""
    monkeypatch.setattr(choice, "installed", lambda: there)
    usual = SimpleNamespace(provider=provider)
    assert chosen({"onnxruntime": usual}) is usual


def test_auto_without_the_extra_is_int8_in_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before there was OpenVINO; and fp32, the default, is not even compared."""
    monkeypatch.setattr(choice, "installed", lambda: False)
    engine = open_version(Settings(models=MODELS, provider="cpu", precision="auto"), VERSION)
    assert (engine.precision, engine.runtime, engine.openvino) == ("int8", "onnxruntime", None)
    monkeypatch.setattr(choice, "installed", lambda: pytest.fail("it is compared"))
    engine = open_version(Settings(models=MODELS, provider="cpu"), VERSION)
    assert (engine.precision, engine.runtime) == ("fp32", "onnxruntime")
