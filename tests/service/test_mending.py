"""Engines that fail: readiness is off, they are asked again and opened anew, and the log says so."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog

from service.app import Application, create_app
from service.runtime import ort
from service.settings import Settings
from tests.service.serving import MODELS, serving
from tests.service.test_workers import until


@pytest.fixture
def served() -> Iterator[tuple[Application, httpx.Client]]:
    """An application of the test's own."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    with serving(app) as client:
        yield app, client


def _fail(*_: object) -> None:
    raise RuntimeError("CUDA error 700: an illegal memory access was encountered")


def _ask(client: httpx.Client) -> int:
    return client.post(
        "/v1/predict", content=bytes(784), headers={"Content-Type": "application/octet-stream"}
    ).status_code


def test_an_engine_that_comes_back_is_noticed(
    served: tuple[Application, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to ask for its readiness: while it fails each request is told so, and afterwards it serves."""
    _, client = served
    with structlog.testing.capture_logs() as logged:
        monkeypatch.setattr(ort.InferenceSession, "run", _fail)
        assert _ask(client) == 500
        assert client.get("/v2/health/ready").status_code == 503
        assert "digitscope_ready 0.0" in client.get("/metrics").text
        until(
            lambda: [event for event in logged if event["event"] == "engine failed and is not ready"], "it is not said"
        )
        assert _ask(client) == 500 and client.get("/v2/health/ready").status_code == 503
        monkeypatch.undo()
        until(lambda: "engine answers again" in [event["event"] for event in logged], "it is not noticed")
    assert "digitscope_ready 1.0" in client.get("/metrics").text
    assert (client.get("/v2/health/ready").status_code, _ask(client)) == (200, 200)
    assert [event["event"] for event in logged].count("engine failed and is not ready") == 1


def test_a_session_that_is_lost_is_opened_anew(
    served: tuple[Application, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that will never answer again is replaced by another one."""
    app, client = served
    engine: Any = app.state.digitscope.loaded.engine
    lost = engine._predicting
    monkeypatch.setattr(lost, "run", _fail)
    assert _ask(client) == 500
    until(lambda: engine._predicting is not lost and engine.healthy, "it is not opened anew")
    assert (client.get("/v2/health/ready").status_code, _ask(client)) == (200, 200)


def test_a_session_that_cannot_be_opened_anew_is_tried_again(
    served: tuple[Application, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was open before stays, so that nothing is missing meanwhile; whatever a try raises, the next one is made."""
    app, client = served
    engine: Any = app.state.digitscope.loaded.engine
    tries = []

    def refuse(*_: object, **__: object) -> None:
        tries.append(engine.healthy)
        raise MemoryError

    monkeypatch.setattr(engine._predicting, "run", _fail)
    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logged:
        patch.setattr(type(engine), "_session", refuse)
        assert _ask(client) == 500
        until(lambda: len(tries) >= 2, "it is not tried again")
        assert client.get("/v2/health/ready").status_code == 503
    assert "an engine could not be mended" in [event["event"] for event in logged]
    until(lambda: engine.healthy, "it is not opened anew")
    assert (client.get("/v2/health/ready").status_code, _ask(client)) == (200, 200)
