"""`GET /v1/model` and `GET /metrics`: what serves, and how it fares."""

import hashlib
import json
from pathlib import Path

import httpx
import onnxruntime
from prometheus_client.parser import text_string_to_metric_families


def test_the_manifest_is_shown_whole(client: httpx.Client, model_folder: Path) -> None:
    """Every value of the file's own JSON is in the answer."""
    shown = client.get("/v1/model").json()["manifest"]
    assert shown == json.loads((model_folder / "manifest.json").read_text())


def test_what_really_runs_is_shown(client: httpx.Client, model_bytes: bytes, model_folder: Path) -> None:
    """Provider, threads, version and the SHA-256 of the file that is open."""
    assert client.get("/v1/model").json()["running"] == {
        "provider": "CPUExecutionProvider",
        "asked": "cpu",
        "fallback": None,
        "graphs": False,
        "precision": "fp32",
        "threads": 1,  # a worker has one; there is a worker for each CPU
        "onnxruntime": onnxruntime.__version__,
        "version": model_folder.name,
        "sha256": hashlib.sha256(model_bytes).hexdigest(),
    }


def test_metrics_are_prometheus_text(client: httpx.Client, model_bytes: bytes) -> None:
    """Prometheus' own parser reads them; they name the model that serves and say that it does."""
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["digitscope_ready"].samples[0].value == 1
    labels = families["digitscope_model_info"].samples[0].labels
    assert labels["sha256"] == hashlib.sha256(model_bytes).hexdigest()
    assert labels["provider"] == "CPUExecutionProvider" and labels["name"] == "digits"
    assert "process_cpu_seconds" in families and all(family.documentation for family in families.values())
