"""Limits of calls: of their time, number and size; of connections; and what is told when the service is to end."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from service.app import create_app
from service.protocol.grpc import inference_pb2 as pb
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.keyed import LINES
from tests.service.protocol.grpc import frames
from tests.service.protocol.grpc.calling import PATIENCE, asking, calling, free_port, tensors
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


@pytest.fixture
def narrow() -> Iterator[Served]:
    """An application of four connections and calls at once, two of an address, whose heads have half a second."""
    port = free_port()
    limits = Settings(
        models=MODELS, provider="cpu", grpc_port=port, max_connections=4, patience=0.5, max_held=1_000_000
    )
    app = create_app(limits)
    with serving(app) as http, calling(port) as client:
        yield Served(client, http, app.state.digitscope)


@contextlib.contextmanager
def silent(own: Served, method: str = "ModelInfer", **options: object) -> Iterator[grpc.Call]:
    """A call that is opened, and sends nothing until the end."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(PATIENCE)
        yield from ()

    call = own.grpc.channel.stream_stream(f"/inference.GRPCInferenceService/{method}")
    opened = call(nothing(), timeout=PATIENCE, **options)
    try:
        yield opened
    finally:
        opened.cancel()
        over.set()


def refused(own: Served, reason: str) -> float:
    """How many requests were refused for a reason."""
    pattern = f'digitscope_refusals_total{{reason="{reason}"}} '
    lines = own.http.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(pattern)) for line in lines if line.startswith(pattern))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("ModelInfer", "the time given for the request has passed"),
        ("ServerLive", "the time given for the request has passed"),
        ("ModelStreamInfer", "no request has come on the stream for 0.3 s"),
    ],
)
def test_a_call_that_sends_nothing_is_ended(own: Served, method: str, said: str) -> None:
    """A call without its message has the time of a request, and so has a stream between two; both are counted."""
    before = refused(own, "Deadline")
    with silent(own, method) as call:
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert call.details() == said
    assert refused(own, "Deadline") == before + 1
    assert own.grpc.call("ServerLive").live


def test_a_stream_that_falls_silent_is_ended(own: Served, mnist: Mnist) -> None:
    """Its time begins anew with each answer, and what it had asked is answered."""
    over = threading.Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        for _ in range(3):
            yield asking(mnist.images[:1])
        over.wait(PATIENCE)

    stream = own.grpc.stream(requests())
    for _ in range(3):
        assert len(tensors(next(stream).infer_response)["logits"]) == 1
    with pytest.raises(grpc.RpcError) as raised:
        next(stream)
    over.set()
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_call_without_a_message_is_refused(own: Served) -> None:
    """One that ends before it has said anything."""
    call = own.grpc.channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as raised:
        call(iter(()), timeout=PATIENCE)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "the call has no message"


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_key_is_asked_for_before_a_message_comes(method: str) -> None:
    """As over HTTP: who has none is refused by the metadata of the call, and nothing more is waited for."""
    port = free_port()
    app = create_app(Settings(models=MODELS, provider="cpu", grpc_port=port, api_keys=LINES))
    with serving(app) as http, calling(port) as client:
        own = Served(client, http, app.state.digitscope)
        with silent(own, method) as call:
            assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        with silent(own, method, metadata=(("x-api-key", "wrong"),)) as call:
            assert call.code() is grpc.StatusCode.UNAUTHENTICATED


def test_calls_at_once_are_bounded(narrow: Served) -> None:
    """Of the calls that are under way an address has half: one more is told when to come again, and is counted."""
    with silent(narrow), silent(narrow, "ModelStreamInfer"):
        for _ in range(1000):  # until the server has seen both
            with contextlib.suppress(grpc.RpcError):
                narrow.grpc.call("ServerLive")
            if refused(narrow, "Overloaded"):
                break
        with pytest.raises(grpc.RpcError) as raised:
            narrow.grpc.call("ServerLive")
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert raised.value.details() == "2 calls are under way already, of 4 at most"
        assert dict(raised.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
        with pytest.raises(grpc.RpcError) as raised:
            next(narrow.grpc.stream(iter(())))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    for _ in range(1000):  # until it has seen their end
        with contextlib.suppress(grpc.RpcError):
            assert narrow.grpc.call("ServerLive").live
            return
    pytest.fail("no call is answered any more")


def test_messages_at_once_are_held_together_with_bodies(narrow: Served, mnist: Mnist) -> None:
    """What an address may have of the bytes that a worker holds is one over HTTP and gRPC; small messages need none."""
    narrow.state.bodies.take("127.0.0.1", 450_000)
    with pytest.raises(grpc.RpcError) as raised:
        narrow.grpc.call("ModelInfer", asking(mnist.images[:150]))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "bodies of 450,000 bytes are held already, of 1,000,000 at most"
    assert len(tensors(narrow.grpc.call("ModelInfer", asking(mnist.images[:50])))["logits"]) == 50
    narrow.state.bodies.give("127.0.0.1", 450_000)
    assert len(tensors(narrow.grpc.call("ModelInfer", asking(mnist.images[:150])))["logits"]) == 150
    assert narrow.state.bodies.total == 0


def test_connections_are_bounded(narrow: Served) -> None:
    """A fifth one is closed at once, those that stand are answered, and with one less another one is."""
    port = narrow.state.settings.grpc_port
    assert port is not None
    assert narrow.grpc.call("ServerLive").live
    with contextlib.ExitStack() as others:
        clients = [others.enter_context(calling(port)) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as wire:
            assert wire.recv(1) == b""
        for client in (narrow.grpc, *clients):
            assert client.call("ServerLive").live
        clients[0].channel.close()
        with calling(port) as client:  # which tries again until it is let in
            assert client.call("ServerLive").live


def test_a_connection_that_says_nothing_is_closed(narrow: Served) -> None:
    """As a head over HTTP, HTTP/2's beginning is to come within the patience; a byte now and then is none."""
    port = narrow.state.settings.grpc_port
    for sent in (b"", b"PRI * HTTP/2.0\r\n"):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as wire:
            wire.sendall(sent)
            while wire.recv(4096):  # its own settings, and why it goes
                pass


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


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_call_that_has_said_nothing_is_not_waited_for_at_the_end(narrow: Served, method: str) -> None:
    """It is told that another try is worth it, long before the grace for calls under way is over."""
    begun = narrow.state.ending.begun
    with silent(narrow, method) as call:
        assert narrow.grpc.call("ServerLive").live  # behind it on the same connection
        begun._loop.call_soon_threadsafe(begun.set)  # type: ignore[attr-defined]
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert call.details() == "the service ends"


def ended(own: Served, status: int) -> float:
    """How many calls of ModelInfer have ended by a status."""
    name = f'digitscope_requests_total{{method="POST",route="grpc:ModelInfer",status="{status}"}} '
    lines = own.http.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_caller_who_gives_up_is_no_malformed_request(narrow: Served) -> None:
    """Whether he cancels before his message, or hangs up in the midst of it: 499, as over HTTP, and nothing refused."""
    port = narrow.state.settings.grpc_port
    opening = frames.opening(b"/inference.GRPCInferenceService/ModelInfer")
    half = frames.data(b"\0" + struct.pack(">I", 1000) + bytes(500), last=False)
    for number in range(1, 6):
        with silent(narrow):
            assert narrow.grpc.call("ServerLive").live  # behind it on the same connection
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as wire:
            wire.sendall(opening + half + frames.PING)
            came = b""
            while frames.PONG not in came:
                more = wire.recv(4096)
                assert more
                came += more
        for _ in range(1000):
            if ended(narrow, 499) == 2 * number:
                break
            time.sleep(0.02)
        assert ended(narrow, 499) == 2 * number and ended(narrow, 400) == 0
    assert refused(narrow, "Malformed") == 0
