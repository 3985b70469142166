"""API keys over gRPC: what the table says of each method, in every form of metadata, and rates."""

from collections.abc import Iterator

import grpc
import httpx
import pytest

from service.app import create_app
from service.protocol.grpc import METHODS
from service.protocol.grpc import inference_pb2 as pb
from service.scopes import NEEDED, OPEN, SCOPES
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.keyed import KEYS, LINES, bearing
from tests.service.protocol.grpc.calling import PATIENCE, Client, asking, calling, free_port, tensors
from tests.service.serving import MODELS, serving

REQUESTS = {
    "ModelReady": pb.ModelReadyRequest(name="digits"),
    "ModelMetadata": pb.ModelMetadataRequest(name="digits"),
    "ModelConfig": pb.ModelConfigRequest(name="digits"),
}
UNARY = [method for method in METHODS if method != "ModelStreamInfer"]


@pytest.fixture
def guarded() -> Iterator[tuple[Client, httpx.Client]]:
    """A service that wants keys, whose rates nobody has used yet, over gRPC and over HTTP."""
    port = free_port()
    settings = Settings(models=MODELS, provider="cpu", grpc_port=port, api_keys=LINES)
    with serving(create_app(settings)) as http, calling(port) as client:
        yield client, http


def code(client: Client, method: str, *metadata: tuple[str, str]) -> grpc.StatusCode:
    """The status of a call that is well formed, but for an inference, which has no tensors."""
    call = client.method(method)
    request = REQUESTS.get(method, b"")
    try:
        call(request, timeout=PATIENCE, metadata=metadata)
    except grpc.RpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return grpc.StatusCode.OK


def test_every_method_with_every_key(guarded: tuple[Client, httpx.Client]) -> None:
    """Without a key, or with a wrong one, UNAUTHENTICATED; of another scope PERMISSION_DENIED; else neither."""
    client, _ = guarded
    refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    for method in UNARY:
        scopes = NEEDED[f"grpc:{method}"]
        if scopes == OPEN:
            assert code(client, method) is code(client, method, ("authorization", "Bearer x")) is grpc.StatusCode.OK
            continue
        for wrong in (
            (),
            (("authorization", "Bearer wrong"),),
            (("x-api-key", ""),),
            (("authorization", KEYS["all"]),),
        ):
            assert code(client, method, *wrong) is grpc.StatusCode.UNAUTHENTICATED
        for scope in SCOPES:
            for metadata in (("authorization", f"Bearer {KEYS[scope]}"), ("x-api-key", KEYS[scope])):
                found = code(client, method, metadata)
                assert (found not in refused) if scope in scopes else (found is refused[1]), (method, scope)


def test_a_stream_is_let_in_or_ends(guarded: tuple[Client, httpx.Client], mnist: Mnist) -> None:
    """With a key it is answered message by message; without one it ends as a call does."""
    client, _ = guarded
    stream = client.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )

    def ask(key: str) -> list[str]:
        requests = iter([asking(mnist.images[:1])] * 3)
        answers = stream(requests, timeout=PATIENCE, metadata=(("authorization", f"Bearer {key}"),))
        return [answer.error_message for answer in answers]

    assert ask(KEYS["predict"]) == ["", "", ""]
    assert ask(KEYS["slow"]) == ["", *["this API key may ask 0.001 times a second, and has"] * 2]
    for key, status in (
        ("wrong", grpc.StatusCode.UNAUTHENTICATED),
        (KEYS["metrics"], grpc.StatusCode.PERMISSION_DENIED),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            ask(key)
        assert raised.value.code() is status


def test_feature_maps_need_their_scope(guarded: tuple[Client, httpx.Client], mnist: Mnist) -> None:
    """As outputs of an inference too."""
    client, _ = guarded
    infer = client.method("ModelInfer")
    request = asking(mnist.images[:1], "fc1")
    answer = infer(request, timeout=PATIENCE, metadata=(("x-api-key", KEYS["page"]),))
    assert tensors(answer)["fc1"].shape == (1, 600)
    with pytest.raises(grpc.RpcError) as raised:
        infer(request, timeout=PATIENCE, metadata=(("x-api-key", KEYS["predict"]),))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert raised.value.details() == "this API key is not for this, which needs the scope inspect"


def test_the_rate_is_one_with_http(guarded: tuple[Client, httpx.Client], mnist: Mnist) -> None:
    """What was asked over HTTP counts over gRPC, whose clients are told when to come again."""
    client, http = guarded
    headers = {"Content-Type": "application/octet-stream"} | bearing("slow")
    assert http.post("/v1/predict", content=bytes(784), headers=headers).status_code == 200
    with pytest.raises(grpc.RpcError) as raised:
        client.method("ModelInfer")(asking(mnist.images[:1]), metadata=(("x-api-key", KEYS["slow"]),), timeout=PATIENCE)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    pause = int(dict(raised.value.trailing_metadata())["grpc-retry-pushback-ms"])
    assert 900_000 < pause <= 1_000_000
