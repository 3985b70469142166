"""What the server and the model tell of themselves over gRPC, and the deadlines of a call."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from service.app import create_app
from service.protocol.grpc import inference_pb2 as pb
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.protocol.grpc.calling import asking, calling, free_port, tensors
from tests.service.protocol.grpc.conftest import Served
from tests.service.serving import MODELS, VERSION, serving


def _plain(message: Any) -> Any:
    """A message as JSON has it, with numbers for the strings that protobuf writes for those of 64 bits."""

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: numbers(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [numbers(inner) for inner in value]
        return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value

    return numbers(MessageToDict(message, preserving_proto_field_name=True))


def _filled(value: Any) -> Any:
    """What HTTP tells, without what protobuf leaves out: nothing, zeros and empty texts."""
    if isinstance(value, dict):
        return {key: _filled(inner) for key, inner in value.items() if inner not in (0, "", [], {})}
    if isinstance(value, list):
        return [_filled(inner) for inner in value]
    return int(value) if isinstance(value, str) and value.isdigit() else value


def test_health_is_told(served: Served) -> None:
    """The server is live and ready, and so is the model, with and without its version."""
    assert served.grpc.call("ServerLive").live
    assert served.grpc.call("ServerReady").ready
    assert served.grpc.call("ModelReady", pb.ModelReadyRequest(name="digits")).ready
    assert served.grpc.call("ModelReady", pb.ModelReadyRequest(name="digits", version=VERSION)).ready


def test_a_model_that_is_not_loaded_is_not_ready(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the server lives and is not ready, and inference is unavailable."""
    monkeypatch.setattr(served.state, "served", None)
    assert served.grpc.call("ServerLive").live
    assert not served.grpc.call("ServerReady").ready
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelReady", pb.ModelReadyRequest(name="digits"))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("method", "request_", "path", "field"),
    [
        ("ServerMetadata", None, "/v2", None),
        ("ModelMetadata", pb.ModelMetadataRequest(name="digits"), "/v2/models/digits", None),
        ("ModelConfig", pb.ModelConfigRequest(name="digits"), "/v2/models/digits/config", "config"),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="digits"), "/v2/models/digits/stats", None),
        ("ModelStatistics", None, "/v2/models/stats", None),
    ],
)
def test_the_same_is_told_as_over_http(
    served: Served, mnist: Mnist, method: str, request_: Any, path: str, field: str | None
) -> None:
    """Field by field, a message says what the JSON of the same name says."""
    served.grpc.call("ModelInfer", asking(mnist.images[:2]))
    answer = served.grpc.call(method, request_)
    assert _plain(getattr(answer, field) if field else answer) == _filled(served.http.get(path).json())


def test_the_repository_lists_the_model(served: Served) -> None:
    """It is ready, and so among those that are."""
    for request in (pb.RepositoryIndexRequest(), pb.RepositoryIndexRequest(ready=True)):
        models = served.grpc.call("RepositoryIndex", request).models
        *others, model = models
        assert (model.name, model.version, model.state, model.reason) == ("digits", VERSION, "READY", "")
        assert [(other.state, other.reason) for other in others] == [
            ("UNAVAILABLE", "it is not loaded") for _ in range(int(VERSION) - 1) if not request.ready
        ]


def test_a_model_that_failed_is_listed_as_unavailable(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reason, and not where only those that are ready are asked for."""
    assert served.state.loaded
    monkeypatch.setattr(served.state.loaded.engine, "healthy", False)
    *_, model = served.grpc.call("RepositoryIndex").models
    assert (model.state, model.reason) == ("UNAVAILABLE", "the engine failed")
    assert not served.grpc.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)).models


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize("named", [{"name": "cats"}, {"name": "digits", "version": "9"}])
def test_another_model_is_not_found(served: Served, method: str, named: dict[str, str]) -> None:
    """Whatever is asked of a model or version that is not here is answered by that."""
    kind = getattr(pb, f"{method}Request")
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call(method, kind(**named))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert f"'{list(named.values())[-1]}'" in raised.value.details()


def test_a_stream_answers_each_request_in_order(served: Served, mnist: Mnist, plain: Any) -> None:
    """One answer a request, in their order and each the last of its own; a bad one among them ends nothing."""
    requests = [asking(mnist.images[i : i + 1], "probabilities", id=str(i)) for i in range(5)]
    requests[2].inputs[0].name = "picture"
    answers = list(served.grpc.stream(iter(requests)))
    assert [bool(answer.error_message) for answer in answers] == [False, False, True, False, False]
    assert "'picture'" in answers[2].error_message
    for number in (0, 1, 3, 4):
        answer = answers[number].infer_response
        assert answer.id == str(number) and answer.parameters["triton_final_response"].bool_param
        expected = plain.run(["probabilities"], {"image": mnist.images[number : number + 1, None]})[0]
        assert abs(tensors(answer)["probabilities"] - expected).max() < 1e-4


class _Watched:
    """`Predictor.predict` with a note of what it was given."""

    def __init__(self, predict: Any) -> None:
        self._predict = predict
        self.deadline: float | None = None

    async def __call__(self, pixels: bytes, **options: Any) -> Any:
        self.deadline = options["deadline"]
        return await self._predict(pixels, **options)


@pytest.mark.parametrize(
    ("of_call", "of_request", "expected"),
    [(30, None, 30), (30, 10_000_000, 10), (10, 30_000_000, 10)],
)
def test_the_earlier_deadline_counts(
    served: Served,
    mnist: Mnist,
    monkeypatch: pytest.MonkeyPatch,
    of_call: float,
    of_request: int | None,
    expected: float,
) -> None:
    """That of the call, in seconds, or the timeout of the request, in microseconds."""
    assert served.state.loaded
    watched = _Watched(served.state.loaded.predict)
    monkeypatch.setattr(served.state.loaded, "predict", watched)
    request = asking(mnist.images[:1])
    if of_request is not None:
        request.parameters["timeout"].int64_param = of_request
    started = time.monotonic()
    served.grpc.call("ModelInfer", request, timeout=of_call)
    assert watched.deadline is not None and abs(watched.deadline - started - expected) < 2


def test_no_deadline_is_none(served: Served, mnist: Mnist, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without one waits for as long as it takes."""
    assert served.state.loaded
    watched = _Watched(served.state.loaded.predict)
    monkeypatch.setattr(served.state.loaded, "predict", watched)
    served.grpc.call("ModelInfer", asking(mnist.images[:1]), timeout=None)
    assert watched.deadline is None


def test_a_deadline_that_passed_is_told(served: Served, mnist: Mnist) -> None:
    """The request's own timeout of a microsecond is over before its turn."""
    request = asking(mnist.images[:1])
    request.parameters["timeout"].uint64_param = 1
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelInfer", request)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "passed before its turn" in raised.value.details()


@pytest.fixture(scope="module")
def patient() -> Iterator[Served]:
    """A service whose requests wait for half a second, so that something can happen meanwhile."""
    port = free_port()
    settings = Settings(models=MODELS, provider="cpu", grpc_port=port, max_queue_delay=500_000)
    app = create_app(settings)
    with serving(app) as http, calling(port) as client:
        yield Served(client, http, app.state.digitscope)


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
def test_a_caller_who_has_gone_costs_no_run(
    patient: Served, mnist: Mnist, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A call that is cancelled, or whose time is over, while it waits is not run; the one beside it is."""
    assert patient.state.loaded
    ran: list[int] = []
    arrived = threading.Event()

    predict, run = patient.state.loaded.predict, patient.state.loaded.engine.predict

    async def noting_arrival(pixels: bytes, **options: Any) -> Any:
        arrived.set()
        return await predict(pixels, **options)

    def noting_run(images: Any) -> Any:
        ran.append(len(images))
        return run(images)

    monkeypatch.setattr(patient.state.loaded, "predict", noting_arrival)
    monkeypatch.setattr(patient.state.loaded.engine, "predict", noting_run)
    going = patient.grpc.future("ModelInfer", asking(mnist.images[:3]), timeout=0.2 if how == "out of time" else 30)
    assert arrived.wait(30)
    staying = patient.grpc.future("ModelInfer", asking(mnist.images[:2]))
    if how == "cancelled":
        going.cancel()
    else:
        assert going.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(tensors(staying.result())["logits"]) == 2
    assert ran == [2]


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_nothing_is_loaded_by_a_call(served: Served, method: str) -> None:
    """Unless that is asked for when the service starts, as over HTTP."""
    request = getattr(pb, f"{method}Request")(model_name="digits")
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call(method, request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "--repository-api" in raised.value.details()


def test_versions_come_and_go_by_calls() -> None:
    """One is loaded beside the current one, asked, and let go; a file that is sent is not taken, nor another model."""
    port = free_port()
    app = create_app(Settings(models=MODELS, provider="cpu", grpc_port=port, repository_api=True))
    load, unload, value = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest, pb.ModelRepositoryParameter
    beside = {"version": value(string_param="1"), "current": value(bool_param=False)}
    with serving(app), calling(port) as client:
        client.call("RepositoryModelLoad", load(model_name="digits", parameters=beside))
        assert client.call("ModelReady", pb.ModelReadyRequest(name="digits", version="1")).ready
        wanted = {"version": value(string_param="1"), "unload_dependents": value(bool_param=False)}
        client.call("RepositoryModelUnload", unload(model_name="digits", parameters=wanted))
        for request, code in (
            (load(model_name="digits", parameters={"file:1/model.onnx": value(bytes_param=b"x")}), "INVALID_ARGUMENT"),
            (load(model_name="cats"), "NOT_FOUND"),
            (unload(model_name="digits"), "INVALID_ARGUMENT"),
        ):
            method = type(request).__name__.removesuffix("Request")
            with pytest.raises(grpc.RpcError) as raised:
                client.call(method, request)
            assert raised.value.code().name == code
