"""gRPC's own server within the service, ended by strangers: another one takes its place."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from service.app import create_app
from service.errors import AddressError
from service.protocol.grpc import listener
from service.protocol.grpc.listener import Listener
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.protocol.grpc import frames
from tests.service.protocol.grpc.calling import PATIENCE, Client, asking, calling, free_port, tensors
from tests.service.serving import MODELS, process, serving

_BAD = b"/inference.GRPCInferenceService/\xff"
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def until(true: Callable[[], bool]) -> None:
    """Waits for something that is to come."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def ended(port: int) -> bool:
    """Whether a server was there to be ended."""
    try:
        frames.call(port, _BAD)
    except ConnectionError:
        return False
    return True


def answered(port: int, mnist: Mnist) -> bool:
    """Whether a call on a connection of its own is answered; where it is not, it was one that is to be made again."""
    options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        try:
            answer = Client(channel).call("ModelInfer", asking(mnist.images[:1]))
        except grpc.RpcError as error:
            if error.code() not in _LOST:
                raise
            return False
    return tensors(answer)["logits"].shape == (1, 10)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_path_that_is_no_utf_8_ends_no_service(tmp_path: Path, mnist: Mnist, workers: str) -> None:
    """Whichever worker it hits answers again, and clients that try again are answered; the log has no stack trace."""
    port = free_port()
    flags = ("--provider", "cpu", "--workers", workers, "--grpc-port", str(port))
    with process(tmp_path / "log", *flags) as running:
        for _ in range(3):
            until(lambda: ended(port))
            for _ in range(10):  # connections, spread over the workers
                until(lambda: answered(port, mnist))
        assert running.end() == 0
        log = running.log.read_text()
    assert "Traceback" not in log and "retrieved" not in log
    events = [json.loads(line) for line in log.splitlines()]
    told = [event for event in events if event["event"] == "gRPC's server has ended unasked and is not ready"]
    assert {event["reason"] for event in told} == {"UnicodeDecodeError"}
    assert len(told) <= int(workers)  # once in ten seconds


def test_what_is_under_way_is_answered_when_the_server_ends_unasked(mnist: Mnist) -> None:
    """The call that waits in the queue has its answer, though the server that took it is none any more."""
    port = free_port()
    settings = Settings(models=MODELS, provider="cpu", grpc_port=port, max_queue_delay=1_500_000)
    with serving(create_app(settings)), calling(port) as client:
        answer = client.future("ModelInfer", asking(mnist.images[:2]))
        time.sleep(0.3)
        frames.call(port, _BAD)
        assert len(tensors(answer.result())["logits"]) == 2


def test_without_its_port_the_service_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the server's end on until another one has the port, which is tried for as long as that takes."""
    port = free_port()
    app = create_app(Settings(models=MODELS, provider="cpu", grpc_port=port))
    start = Listener.start
    tries: list[bool] = []
    free = False

    async def taken(self: Listener) -> None:
        tries.append(free)
        if not free:
            raise AddressError("somebody else has it")
        await start(self)

    with serving(app) as http:
        assert http.get("/v2/health/ready").json() == {"ready": True}
        monkeypatch.setattr(Listener, "start", taken)
        frames.call(port, _BAD)
        until(lambda: http.get("/v2/health/ready").status_code == 503)
        until(lambda: len(tries) > 3)
        assert http.get("/v2/health/ready").json() == {"ready": False}
        free = True
        until(lambda: http.get("/v2/health/ready").status_code == 200)
        with calling(port) as client:
            assert client.call("ServerReady").ready


def test_silent_calls_do_not_gather_over_servers_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that ended unasked one alone waits for its calls, so that ending it again and again holds nothing."""
    monkeypatch.setattr(listener, "_GRACE", 2 * PATIENCE)
    port = free_port()
    app = create_app(Settings(models=MODELS, provider="cpu", grpc_port=port, timeout=3 * PATIENCE))
    with serving(app), calling(port) as client:
        silent = client.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        held = threading.Event()

        def nothing() -> Iterator[bytes]:
            held.wait(PATIENCE)
            yield from ()

        first = silent(nothing(), timeout=PATIENCE / 2)
        assert client.call("ServerLive").live  # behind it on the same connection
        for _ in range(2):
            until(lambda: ended(port))
            with calling(port) as other:
                assert other.call("ServerLive").live
        assert first.code() is not grpc.StatusCode.DEADLINE_EXCEEDED  # its own, which is before the grace is over
        held.set()
