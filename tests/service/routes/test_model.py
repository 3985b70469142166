"""`GET /v1/model`, `GET /v1/model/layers` and `GET /metrics`: what serves, of what it is made, and how it fares."""

import hashlib
import json
import math
import re
from pathlib import Path

import httpx
import onnx
import onnxruntime
import pytest
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
        "runtime": "onnxruntime",
        "threads": 1,  # a worker has one; there is a worker for each CPU
        "onnxruntime": onnxruntime.__version__,
        "openvino": None,
        "version": model_folder.name,
        "sha256": hashlib.sha256(model_bytes).hexdigest(),
    }


def test_the_layers_are_those_of_the_file_that_serves(client: httpx.Client, model_bytes: bytes) -> None:
    """Parameters are counted in the ONNX file itself, and output sizes, formulas and fields are the known ones."""
    answer = client.get("/v1/model/layers").json()
    layers = {layer["name"]: layer for layer in answer["layers"]}
    assert list(layers) == ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu", "logits"]
    graph = onnx.load_from_string(model_bytes).graph
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            assert layers[node.output[0]]["parameters"] == sum(sizes[name] for name in node.input[1:])
    assert answer["parameters"] == sum(layer["parameters"] for layer in layers.values())
    assert answer["multiply_adds"] == 8 * 9 * 28**2 + 32 * 8 * 25 * 14**2 + 1568 * 600 + 600 * 10
    assert layers["conv2"]["formula"] == "⌊(14 − 5 + 2·2)/1⌋ + 1 = 14" and layers["relu2"]["formula"] is None
    assert layers["pool2"]["receptive_field"] == {"size": 14, "jump": 4, "start": 1.5}
    assert layers["logits"]["receptive_field"] is None


def test_the_card_is_the_file_beside_the_model(client: httpx.Client, model_folder: Path) -> None:
    """In Markdown, byte for byte, and each picture that it names is there."""
    answer = client.get("/v1/model/card")
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.content == (model_folder / "README.md").read_bytes()
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", answer.text)
    assert pictures
    for picture in pictures:
        shown = client.get(f"/v1/model/card/{picture}")
        assert shown.headers["Content-Type"] == "image/png"
        assert shown.content == (model_folder / picture).read_bytes()


@pytest.mark.parametrize("name", ["none.png", "..%2f1%2fconfusion.png", "manifest.json", "model.onnx", "README.md"])
def test_no_other_file_is_beside_the_card(client: httpx.Client, name: str) -> None:
    """Neither a picture that is not there, nor another version's, nor what is no picture."""
    answer = client.get(f"/v1/model/card/{name}")
    assert answer.status_code in {400, 404} and list(answer.json()) == ["error"]


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
