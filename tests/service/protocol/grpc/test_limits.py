"""Limits of calls: of their time, of their metadata; and what calls are told when the service is to end."""

import threading
from collections.abc import Iterator

import grpc
import pytest

from service.app import create_app
from service.protocol.grpc import inference_pb2 as pb
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.protocol.grpc.calling import asking, calling, free_port, tensors
from tests.service.protocol.grpc.conftest import Served
from tests.service.serving import MODELS, serving


@pytest.fixture
def own() -> Iterator[Served]:
    """An application that gives a call a third of a second, and ends with the test."""
    port = free_port()
    app = create_app(Settings(models=MODELS, provider="cpu", grpc_port=port, timeout=0.3))
    with serving(app) as http, calling(port) as client:
        yield Served(client, http, app.state.digitscope)


def test_a_call_has_only_so_much_time(own: Served, mnist: Mnist) -> None:
    """Whatever its client would wait for: DEADLINE_EXCEEDED, in HTTP's words, and predictions are answered."""
    free = threading.Event()
    own.state.predictor._background._executor.submit(lambda: free.wait(60))
    try:
        asked = asking(mnist.images[:1])
        asked.outputs.add(name="conv1")
        with pytest.raises(grpc.RpcError) as raised:
            own.grpc.call("ModelInfer", asked)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert raised.value.details() == "the time given for the request has passed"
        assert len(tensors(own.grpc.call("ModelInfer", asking(mnist.images[:2])))["logits"]) == 2
    finally:
        free.set()


def test_metadata_is_bounded(own: Served) -> None:
    """More than 16 KB of it is refused by gRPC itself, and the next call is answered."""
    call = own.grpc.channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
    with pytest.raises(grpc.RpcError) as raised:
        call(b"", metadata=[("long", "x" * 20_000)], timeout=30)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert own.grpc.call("ServerLive").live


def test_an_announced_end_is_told(own: Served, mnist: Mnist) -> None:
    """The server and its model are not ready then, and still answer."""
    assert own.grpc.call("ServerReady").ready and own.grpc.call("ModelReady", pb.ModelReadyRequest(name="digits")).ready
    own.state.ending.announced = True
    assert not own.grpc.call("ServerReady").ready
    assert not own.grpc.call("ModelReady", pb.ModelReadyRequest(name="digits")).ready
    assert len(tensors(own.grpc.call("ModelInfer", asking(mnist.images[:1])))["logits"]) == 1


def test_a_stream_is_told_when_the_end_begins(own: Served, mnist: Mnist) -> None:
    """What it has asked before is answered; then it ends by UNAVAILABLE, which says that another try is worth it."""
    over = threading.Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        yield asking(mnist.images[:1])
        over.wait(60)

    stream = own.grpc.stream(requests())
    assert len(tensors(next(stream).infer_response)["logits"]) == 1
    own.state.ending.begun._loop.call_soon_threadsafe(own.state.ending.begun.set)  # type: ignore[attr-defined]
    with pytest.raises(grpc.RpcError) as raised:
        next(stream)
    over.set()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "the service ends"
