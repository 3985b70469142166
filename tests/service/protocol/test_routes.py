"""The Open Inference Protocol over HTTP."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

import service
from tests.conftest import Mnist
from tests.service.refusals import refused

Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
INFER = "/v2/models/digits/infer"
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
]


def body(images: NDArray[np.uint8], *outputs: str, **more: Any) -> dict[str, Any]:
    """A request for some outputs of images (n, 28, 28)."""
    tensor = {"name": "image", "shape": [len(images), 1, 28, 28], "datatype": "UINT8", "data": images.ravel().tolist()}
    return {"inputs": [tensor], **({"outputs": [{"name": name} for name in outputs]} if outputs else {}), **more}


def tensors(answer: httpx.Response) -> dict[str, NDArray[np.float32]]:
    """The output tensors by name, in their shapes."""
    assert answer.status_code == 200, answer.text
    outputs = answer.json()["outputs"]
    assert all(output["datatype"] == "FP32" for output in outputs)
    return {output["name"]: np.array(output["data"], np.float32).reshape(output["shape"]) for output in outputs}


@pytest.mark.parametrize("count", [1, 5, 256])
def test_inference_answers_logits_and_probabilities(client: httpx.Client, mnist: Mnist, plain: Any, count: int) -> None:
    """Unless others are asked for, there are two outputs, which are those of plain ONNX Runtime."""
    found = tensors(client.post(INFER, json=body(mnist.images[:count])))
    assert list(found) == ["logits", "probabilities"]
    for name, expected in zip(found, plain.run(list(found), {"image": mnist.images[:count, None]}), strict=True):
        np.testing.assert_allclose(found[name], expected, atol=1e-4)


@pytest.mark.parametrize("names", [["fc1_relu", "conv1", "probabilities", "pool2"], ["logits", "relu1"], ["conv2"]])
def test_feature_maps_are_outputs_too(
    client: httpx.Client, mnist: Mnist, reference: Reference, names: list[str]
) -> None:
    """Asked for by name, they come in that order with the values of ONNX's reference evaluator."""
    found = tensors(client.post(INFER, json=body(mnist.images[:3], *names)))
    assert list(found) == names
    expected = reference(mnist.images[:3, None])
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_one_output_alone_is_answered(client: httpx.Client, mnist: Mnist) -> None:
    """The selection counts for the model's own outputs too."""
    assert list(tensors(client.post(INFER, json=body(mnist.images[:1], "probabilities")))) == ["probabilities"]


def test_the_model_and_the_id_are_named(client: httpx.Client, mnist: Mnist) -> None:
    """An id comes back, and none appears where none was sent; the version may stand in the path."""
    version = client.get("/v2/models/digits").json()["versions"][0]
    answer = client.post(INFER, json=body(mnist.images[:1], id="seven")).json()
    assert [answer[name] for name in ("model_name", "model_version", "id")] == ["digits", version, "seven"]
    answer = client.post(f"/v2/models/digits/versions/{version}/infer", json=body(mnist.images[:1]))
    assert answer.status_code == 200 and "id" not in answer.json()


def test_the_server_describes_itself(client: httpx.Client) -> None:
    """Name, version and exactly those of Triton's extensions whose routes are here."""
    assert client.get("/v2").json() == {"name": "digitscope", "version": service.__version__, "extensions": EXTENSIONS}


def test_the_model_is_described(client: httpx.Client) -> None:
    """Metadata has the contract's input and its two outputs, with and without the version in the path."""
    version = client.get("/v1/model").json()["manifest"]["version"]
    described = client.get("/v2/models/digits").json()
    assert described == {
        "name": "digits",
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [-1, 10]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        ],
    }
    assert client.get(f"/v2/models/digits/versions/{version}").json() == described


def test_health_is_told(client: httpx.Client) -> None:
    """Live and ready, the server and the model, with and without a version."""
    version = client.get("/v2/models/digits").json()["versions"][0]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/digits/ready", f"/v2/models/digits/versions/{version}/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"name": "digits", "ready": True})


@pytest.mark.parametrize("rest", ["", "/ready", "/config", "/stats", "/infer"])
def test_unknown_models_and_versions_are_refused(client: httpx.Client, mnist: Mnist, rest: str) -> None:
    """Metadata, readiness and inference say which model or version is not here."""
    method = "POST" if rest == "/infer" else "GET"
    for path, said in (
        (f"/v2/models/letters{rest}", "there is no model 'letters' here"),
        (f"/v2/models/digits/versions/999{rest}", "the model 'digits' has no version '999' here"),
        (f"/v2/models/digits/versions/x{rest}", "the model 'digits' has no version 'x' here"),
    ):
        assert refused(client.request(method, path, json=body(mnist.images[:1])), 404) == said


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "no JSON"),
        (b"{}", 400, "inputs"),
        (b'{"inputs": []}', 400, "one input"),
    ],
)
def test_wrong_requests_are_refused(client: httpx.Client, content: bytes, status: int, said: str) -> None:
    """What cannot be read is a 400 with a sentence."""
    assert said in refused(client.post(INFER, content=content), status)


def test_requests_beyond_the_limits_are_refused(client: httpx.Client, mnist: Mnist) -> None:
    """An unknown output is the request's mistake, and too many images are too large."""
    answer = client.post(INFER, json=body(mnist.images[:1], "conv3"))
    assert refused(answer, 400) == "the model has no output 'conv3'"
    answer = client.post(INFER, json=body(mnist.images[:257]))
    assert refused(answer, 413) == "the request has 257 images, and at most 256 are taken at once"
    assert refused(client.get(INFER), 405) == f"GET is not answered at {INFER}"
