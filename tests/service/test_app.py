"""The application: what it answers when it cannot, when it is ready, and what it documents."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from structlog.typing import Processor

from service.app import create_app
from service.candidate import open_version
from service.engine import Engine
from service.errors import ModelError
from service.log import with_request_id
from service.manifest import Manifest
from service.runtime import ort
from service.serving import newest
from service.settings import Settings
from tests.service.asgi import ask, finish, running
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import MODELS, VERSION, serving
from tests.service.test_workers import until

PICTURE = encode(drawn())


@pytest.fixture
def own() -> Iterator[tuple[FastAPI, httpx.Client]]:
    """An application of the test's own, to break things in."""
    app = create_app(Settings(models=MODELS, provider="cpu", threads=1))
    with serving(app) as client:
        yield app, client


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/predicted", "/v2/models/digits/nothing", "/v1/" + "x" * 500])
def test_an_unknown_path_is_a_404(client: httpx.Client, path: str) -> None:
    """The sentence repeats the path, or its beginning."""
    assert refused(client.get(path), 404) == f"there is nothing at {path[:80]}"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/predict", "POST"),
        ("PUT", "/v1/features", "POST"),
        ("POST", "/v1/model", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("GET", "/v2/models/digits/infer", "POST"),
        ("POST", "/v2/health/ready", "GET, HEAD"),
        ("OPTIONS", "/v1/operators", "GET, HEAD, POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("PUT", "/static/style.css", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_a_405(client: httpx.Client, method: str, path: str, allowed: str) -> None:
    """The Allow header says which methods are answered there, all of them and no others."""
    answer = client.request(method, path)
    assert refused(answer, 405) == f"{method} is not answered at {path}"
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/features", "/v2/models/digits/infer"])
def test_an_unexpected_failure_tells_nothing_of_itself(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """The client gets a sentence without a trace, the log the cause, and the same connection goes on."""
    app = create_app(Settings(models=MODELS, provider="cpu"))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret cause")

    processors: list[Processor] = [with_request_id, structlog.processors.format_exc_info]
    with structlog.testing.capture_logs(processors=processors) as logged, serving(app) as client:
        for name in ("read", "predict", "begin"):
            monkeypatch.setattr(app.state.digitscope.loaded, name, fail)
        headers = {"Inference-Header-Content-Length": "0"} if "infer" in path else {}
        content = bytes(784) if "infer" in path else PICTURE
        answer = client.post(path, content=content, headers=headers)
        assert refused(answer, 500) == "the service failed on this request; its log has the cause"
        monkeypatch.undo()
        assert client.post(path, content=content, headers=headers).status_code == 200
    (event,) = [event for event in logged if event["log_level"] == "error"]
    assert event["request_id"] == answer.headers["X-Request-ID"]
    assert "RuntimeError: secret cause" in event["exception"]


def test_a_failing_engine_is_said_and_not_ready(
    own: tuple[FastAPI, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed run is a 500 with a sentence; until the golden inputs are answered again it is not ready."""
    app, client = own
    assert app.state.digitscope.loaded.engine.healthy

    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error 700")

    monkeypatch.setattr(ort.InferenceSession, "run", fail)  # of every session, those that are opened anew included
    assert refused(client.post("/v1/predict", content=PICTURE), 500) == "the engine failed on a batch of 1"
    assert refused(client.post("/v1/features", content=PICTURE), 500) == "the engine failed on a batch of 1"
    for path, said in (
        ("/v2/health/ready", {"ready": False}),
        ("/v2/models/digits/ready", {"name": "digits", "ready": False}),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (503, said)
    *_, state = client.post("/v2/repository/index").json()
    assert state == {"name": "digits", "version": VERSION, "state": "UNAVAILABLE", "reason": "the engine failed"}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert "digitscope_ready 0.0" in client.get("/metrics").text
    monkeypatch.undo()
    until(lambda: client.get("/v2/health/ready").json() == {"ready": True}, "it is not asked again")
    assert client.get("/v2/health/ready").status_code == 200
    assert "digitscope_ready 1.0" in client.get("/metrics").text
    assert client.post("/v1/predict", content=PICTURE).status_code == 200


def test_before_the_model_is_open_nothing_is_ready() -> None:
    """It is alive and says that it is not ready; whoever asks for more gets a 503 with a time to wait."""
    with serving(create_app(Settings(models=MODELS)), lifespan="off") as client:
        assert client.get("/v2/health/live").status_code == 200
        answer = client.get("/v2/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"ready": False})
        assert "digitscope_ready 0.0" in client.get("/metrics").text
        for method, path in (("POST", "/v1/predict"), ("POST", "/v1/features"), ("GET", "/v1/model")):
            answer = client.request(method, path, content=PICTURE)
            assert refused(answer, 503) == "the model is not loaded"
            assert int(answer.headers["Retry-After"]) >= 1


def test_overload_is_a_503_at_once() -> None:
    """What would wait beyond the limit is refused with a time to wait, and counted; smaller requests are answered.

    The limit of one caller leaves room to others.
    """

    async def main() -> None:
        async with running(create_app(Settings(models=MODELS, provider="cpu", max_waiting=5))) as app:
            headers = {"Content-Type": "application/octet-stream"}
            at_once = [ask(app, "POST", "/v1/predict", bytes(size * 784), headers) for size in (2, 2, 1, 1)]
            answers = await asyncio.gather(*at_once)
            assert [answer.status for answer in answers] == [200, 503, 200, 503]
            assert [len(answer.json["predictions"]) for answer in answers[::2]] == [2, 1]
            assert answers[1].json == {"error": "2 images of the same caller wait already, and others are to find room"}
            assert answers[3].json == {"error": "3 images of the same caller wait already, and others are to find room"}
            for answer in answers[1::2]:
                assert int(answer.headers["Retry-After"]) >= 1
            alone = await ask(app, "POST", "/v1/predict", bytes(6 * 784), headers)
            assert len(alone.json["predictions"]) == 6, "where nothing waits, nothing is refused"
            metrics = (await ask(app, "GET", "/metrics")).body
            assert b'digitscope_refusals_total{reason="Overloaded"} 2.0' in metrics

    finish(main())


@pytest.fixture
def copied(tmp_path: Path, model_folder: Path) -> Path:
    """A models folder of the test's own, with the shipped version as number 7."""
    copy_version(model_folder, tmp_path, "7")
    return tmp_path


def copy_version(folder: Path, models: Path, version: str) -> Path:
    """Copies a model version under another number; returns its folder."""
    copy = models / "digits" / version
    shutil.copytree(folder, copy)
    described = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(described | {"version": version}))
    return copy


def open_engine(settings: Settings) -> Engine:
    """The engine of the version that the settings say."""
    return open_version(settings, newest(settings))


def test_a_version_in_another_s_folder_is_refused(copied: Path) -> None:
    """A folder that holds what its manifest calls another version is not served under a wrong number."""
    shutil.copytree(copied / "digits" / "7", copied / "digits" / "8")
    with pytest.raises(ModelError, match=r"8 holds another model: digits, version 7$"):
        open_engine(Settings(models=copied, provider="cpu"))


def test_the_latest_verified_version_is_opened(copied: Path) -> None:
    """The highest number that has a manifest counts, as a number: 10 comes after 7, and 11 is not verified yet."""
    copy_version(copied / "digits" / "7", copied, "10")
    (copied / "digits" / "11").mkdir()
    assert open_engine(Settings(models=copied, provider="cpu")).manifest.version == "10"


def test_a_version_is_opened_by_its_number(copied: Path) -> None:
    """With several versions there, the setting decides."""
    (copy_version(copied / "digits" / "7", copied, "8") / "model.onnx").write_bytes(b"other")
    assert open_engine(Settings(models=copied, provider="cpu", model_version="7")).provider == "CPUExecutionProvider"
    with pytest.raises(ModelError, match="SHA-256"):
        open_engine(Settings(models=copied, provider="cpu", model_version="8"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), r"digits has no version with a manifest$"),
        (lambda folder: (folder / "model.onnx").unlink(), r"model\.onnx cannot be read: No such file or directory$"),
        (
            lambda folder: (folder / "manifest.json").write_text("{"),
            r"manifest\.json breaks the contract at the document",
        ),
    ],
)
def test_a_model_that_is_not_whole_is_refused(copied: Path, change: Any, said: str) -> None:
    """A missing file and a manifest that is none are named."""
    change(copied / "digits" / "7")
    with pytest.raises(ModelError, match=said):
        open_engine(Settings(models=copied, provider="cpu"))


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Any:
    """The OpenAPI document."""
    return client.get("/openapi.json").json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Path, method and description of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def test_every_endpoint_is_documented(document: Any) -> None:
    """The document has those of the issue, and no page."""
    assert {(method, path) for path, method, _ in operations(document)} == {
        ("POST", "/v1/predict"),
        ("POST", "/v1/features"),
        ("GET", "/v1/operators"),
        ("POST", "/v1/operators"),
        ("POST", "/v1/trace"),
        ("POST", "/v1/neighbours"),
        ("POST", "/v1/attribution"),
        ("POST", "/v1/ablate"),
        ("GET", "/v1/model"),
        ("GET", "/v1/model/card"),
        ("GET", "/v1/model/layers"),
        ("GET", "/v1/model/layers/{layer}/kernels"),
        ("GET", "/v1/model/layers/{layer}/exemplars"),
        ("GET", "/metrics"),
        ("GET", "/v2"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
        *(
            (method, f"/v2/models/{{model}}{version}{rest}")
            for version in ("", "/versions/{version}")
            for method, rest in (
                ("GET", ""),
                ("GET", "/ready"),
                ("GET", "/config"),
                ("GET", "/stats"),
                ("POST", "/infer"),
            )
        ),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/{model}/load"),
        ("POST", "/v2/repository/models/{model}/unload"),
    }


def test_every_operation_of_the_service_s_own_says_what_it_does(document: Any) -> None:
    """In a few words of its own, which are no name of a function."""
    summaries = [operation["summary"] for path, _, operation in operations(document) if not path.startswith("/v2")]
    assert len(set(summaries)) == len(summaries) == 14
    assert all(len(summary.split()) > 1 and summary.split()[0].endswith("s") for summary in summaries), summaries


def test_the_document_is_valid(document: Any) -> None:
    """What OpenAPI asks of each operation: its own id, described answers, and exactly the parameters of its path."""
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for path, method, operation in operations(document):
        assert operation["responses"] and all(answer["description"] for answer in operation["responses"].values())
        parameters = operation.get("parameters", [])
        assert len({(parameter["in"], parameter["name"]) for parameter in parameters}) == len(parameters)
        assert all("schema" in parameter for parameter in parameters)
        in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), (method, path)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert "schema" in content


def test_thin_routes_are_documented_whole(document: Any) -> None:
    """Though FastAPI does not read them, their bodies, parameters and answers are in the document."""
    predict = document["paths"]["/v1/predict"]["post"]
    parameters = {parameter["name"]: parameter for parameter in predict["parameters"]}
    assert parameters["preprocess"]["schema"]["enum"] == ["mnist", "none"]
    assert parameters["seen"]["schema"]["type"] == "boolean"
    assert predict["requestBody"]["required"]
    assert predict["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/PredictAnswer"
    }
    for version in ("", "/versions/{version}"):
        infer = document["paths"][f"/v2/models/{{model}}{version}/infer"]["post"]
        named = {(parameter["in"], parameter["name"]) for parameter in infer["parameters"]}
        in_path = {("path", name) for name in re.findall(r"{(\w+)}", f"/v2/models/{{model}}{version}/infer")}
        assert named == {("header", "Inference-Header-Content-Length")} | in_path
        content = infer["requestBody"]["content"]
        assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/InferRequest"}
        assert (
            set(content)
            == {"application/json", "application/octet-stream"}
            == set(infer["responses"]["200"]["content"])
        )
        assert set(infer["responses"]) >= {"200", "4XX", "5XX"}
    properties = document["components"]["schemas"]["InferRequest"]["properties"]
    assert set(properties) == {"id", "parameters", "inputs", "outputs"}


def test_every_documented_operation_is_answered(document: Any, client: httpx.Client, manifest: Manifest) -> None:
    """Each path and method of the document exists: with what it needs, by the document's own examples, it is a 200.

    What changes the models alone is off, and says so.
    """
    for path, method, operation in operations(document):
        url = path.format(model=manifest.name, version=manifest.version, layer="conv2")
        asked = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
        query = {item["name"]: item["schema"]["examples"][0] for item in asked if "examples" in item["schema"]}
        content = operation.get("requestBody", {}).get("content", {})
        headers = {"Inference-Header-Content-Length": "0"} if path.endswith("/infer") else {}
        body = (bytes(784) if headers else PICTURE) if content else b""
        answer = client.request(method, url, params=query, content=body, headers=headers)
        if "/repository/models/" in path:
            assert "--repository-api" in refused(answer, 400)
            continue
        assert answer.status_code == 200, (method, url, answer.text)


def test_no_422_is_documented_and_none_is_answered(document: Any, client: httpx.Client) -> None:
    """FastAPI's own form of refusal is nowhere: the statuses are those of the table, the body is an ErrorAnswer."""
    text = json.dumps(document)
    assert "422" not in text and "HTTPValidationError" not in text
    for path, _, operation in operations(document):
        if path.startswith("/v1"):
            schema = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}
    refused(client.post("/v1/features?scale=x", content=PICTURE), 400)


def test_every_reference_of_the_document_leads_somewhere(document: Any) -> None:
    """No `$ref` is dangling, so that client generators accept it."""
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_the_documents_examples_work(document: Any, client: httpx.Client) -> None:
    """The example of an inference request, sent as it stands, is answered: it is a seven."""
    tried = 0
    for path, method, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if "example" in content:
                version = client.get("/v1/model").json()["running"]["version"]
                url = path.format(model="digits", version=version)
                headers = {"Content-Type": media_type}
                answer = client.request(method, url, content=json.dumps(content["example"]), headers=headers)
                assert answer.status_code == 200, answer.text
                probabilities = answer.json()["outputs"][0]["data"]
                assert max(range(10), key=probabilities.__getitem__) == 7
                tried += 1
    assert tried == 2


def test_every_documented_picture_type_is_taken(document: Any, client: httpx.Client) -> None:
    """Each content type that the document lists is answered when it is sent."""
    kinds = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/bmp": "BMP", "image/gif": "GIF"}
    bodies = {media_type: encode(drawn(), kind) for media_type, kind in (kinds | {"image/tiff": "TIFF"}).items()}
    bodies["application/octet-stream"] = bytes(784)
    for path in ("/v1/predict", "/v1/features"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {*bodies, "multipart/form-data"}
        for media_type, body in bodies.items():
            assert client.post(path, content=body, headers={"Content-Type": media_type}).status_code == 200
        (field,) = content["multipart/form-data"]["schema"]["properties"]
        assert client.post(path, files={field: ("a", PICTURE)}).status_code == 200


def test_every_refusal_is_counted() -> None:
    """Also those that FastAPI finds: wrong parameters, unknown paths, wrong methods, and a path with one slash more."""
    with serving(create_app(Settings(models=MODELS, provider="cpu"))) as client:
        assert client.post("/v1/predict", params={"preprocess": "x"}).status_code == 400
        assert client.get("/nowhere").status_code == 404
        assert client.get("/v2/", follow_redirects=False).status_code == 404
        assert client.put("/v1/predict").status_code == 405
        metrics = client.get("/metrics").text
    counts = {"Malformed": 1, "Unknown": 2, "Method": 1}
    for reason, count in counts.items():
        assert f'digitscope_refusals_total{{reason="{reason}"}} {count}.0' in metrics
