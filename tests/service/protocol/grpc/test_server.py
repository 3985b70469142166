"""The gRPC server within the service: limits, start and end, several workers, and not being there."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import ValidationError

from service.app import create_app
from service.errors import AddressError
from service.protocol.grpc import METHODS
from service.protocol.grpc import inference_pb2 as pb
from service.protocol.grpc.server import grpc_server
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.protocol.grpc.calling import Client, asking, calling, free_port, tensors
from tests.service.protocol.grpc.conftest import Served
from tests.service.serving import MODELS, ROOT, process, run_service, serving

LONG = ("ModelInfer", "ModelStreamInfer", "RepositoryModelLoad", "RepositoryModelUnload")


@pytest.fixture(scope="module")
def narrow() -> Iterator[Client]:
    """A service that reads a body of 10,000 bytes."""
    port = free_port()
    settings = Settings(models=MODELS, provider="cpu", grpc_port=port, max_body=10_000)
    with serving(create_app(settings)), calling(port) as client:
        yield client


def test_a_message_beyond_the_limit_is_refused(narrow: Client, mnist: Mnist) -> None:
    """12 digits fit into 10,000 bytes and 13 do not, and the limit is named."""
    assert len(tensors(narrow.call("ModelInfer", asking(mnist.images[:12])))["logits"]) == 12
    with pytest.raises(grpc.RpcError) as raised:
        narrow.call("ModelInfer", asking(mnist.images[:13]))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "10000" in raised.value.details()


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive"])
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_message_is_refused(
    served: Served, mnist: Mnist, method: str, compression: grpc.Compression
) -> None:
    """Whatever it holds, and before it is inflated, so that nobody gets memory for a thousandth of its size."""
    request = asking(mnist.images[:2]) if method == "ModelInfer" else bytes(1_000_000)
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.method(method)(request, compression=compression)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert served.grpc.call("ServerLive").live


def test_compressed_messages_take_no_memory(tmp_path: Path) -> None:
    """32 KB that become 32 MB each, four at once: the peak of the process stays what it was."""
    port = free_port()
    with process(tmp_path / "log", "--provider", "cpu", "--workers", "1", "--grpc-port", str(port)) as running:
        status = Path(f"/proc/{running.popen.pid}/status")

        def peak() -> int:
            (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            return int(line.split()[1]) * 1024

        with calling(port) as client:
            client.call("ServerLive")
            before = peak()
            said = len(running.log.read_text().splitlines())
            bomb = bytes((32 << 20) - 100)
            live = client.method("ServerLive")
            calls = [live.future(bomb, compression=grpc.Compression.Gzip, timeout=60) for _ in range(4)]
            assert {call.code() for call in calls} == {grpc.StatusCode.UNIMPLEMENTED}
            assert client.call("ServerLive").live
        assert peak() - before < 16 << 20
        assert len(running.log.read_text().splitlines()) == said  # of gRPC's own there is no line


@pytest.mark.parametrize("method", [name for name in METHODS if name not in LONG])
def test_a_long_message_without_tensors_is_refused(served: Served, method: str) -> None:
    """Beyond 64 KB, before it is read; what is in it does not matter."""
    longest = b"\xfa\x01" + b"\xfb\xff\x03" + bytes(65536 - 5)  # one field, which is unknown
    if method in ("ServerLive", "ServerReady", "ServerMetadata"):
        served.grpc.call(method, longest)
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call(method, longest + b"\xff")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == f"the message has 65,537 bytes, and a {method}Request at most 65,536"


def test_an_answer_has_no_limit(served: Served, mnist: Mnist) -> None:
    """The maps of 256 digits have far more bytes than gRPC's clients take unasked."""
    maps = ("conv1", "relu1")
    expected = 2 * 256 * 8 * 28 * 28 * 4
    options = (("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(f"127.0.0.1:{served.state.settings.grpc_port}", options) as channel:
        answer = Client(channel).call("ModelInfer", asking(mnist.images[:256], *maps))
    assert sum(map(len, answer.raw_output_contents)) == expected > 4 * 2**20


def test_what_is_not_answered_is_unimplemented(served: Served) -> None:
    """Triton's other methods are told as missing, which its clients understand."""
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.channel.unary_unary("/inference.GRPCInferenceService/LogSettings")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_are_refused(served: Served) -> None:
    """The sentence names the message that was expected."""
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelMetadata", b"\xff\xff\xff")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "the message is no ModelMetadataRequest"


def test_calls_share_batches_with_http(mnist: Mnist) -> None:
    """Both ways lead into one queue: what waits together from either is one run of the engine."""
    port = free_port()
    settings = Settings(models=MODELS, provider="cpu", grpc_port=port, max_queue_delay=500_000)
    with serving(create_app(settings)) as http, calling(port) as client:
        over_grpc = client.future("ModelInfer", asking(mnist.images[:2]))
        over_http = http.post(
            "/v1/predict", content=mnist.images[:3].tobytes(), headers={"Content-Type": "application/octet-stream"}
        )
        assert over_http.status_code == 200 and len(tensors(over_grpc.result())["logits"]) == 2
        (model,) = http.get("/v2/models/stats").json()["model_stats"]
    assert [batch["batch_size"] for batch in model["batch_stats"]] == [5]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_call_under_way_is_answered_before_the_end(tmp_path: Path, mnist: Mnist, workers: str) -> None:
    """Told to end, the service answers what it has begun, refuses what is new, and ends by 0 within seconds."""
    port = free_port()
    flags = ("--provider", "cpu", "--workers", workers, "--grpc-port", str(port), "--max-queue-delay", "1200000")
    with process(tmp_path / "log", *flags) as running, calling(port) as client:
        client.call("ServerReady")
        over = threading.Event()
        endless = client.stream(iter(over.wait, True))  # a stream that says nothing holds up nothing
        answer = client.future("ModelInfer", asking(mnist.images[:1]))
        time.sleep(0.6)  # of the 1.2 s that it waits in the queue; at the end it has one second left
        started = time.monotonic()
        assert running.end() == 0
        assert time.monotonic() - started < 8
        assert tensors(answer.result())["logits"].shape == (1, 10)
        assert endless.code() is not grpc.StatusCode.OK
        over.set()
        with pytest.raises(grpc.RpcError) as raised:
            client.call("ServerLive", timeout=5)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "Traceback" not in running.log.read_text()


def test_calls_are_logged_where_that_is_asked_for(tmp_path: Path) -> None:
    """The access log has a line for each, with its method and the status that HTTP would have."""
    port = free_port()
    with process(tmp_path / "log", "--provider", "cpu", "--grpc-port", str(port), "--access-log") as running:
        with calling(port) as client:
            client.call("ServerLive")
            with pytest.raises(grpc.RpcError):
                client.call("ModelReady")
        assert running.end() == 0
        events = [json.loads(line) for line in running.log.read_text().splitlines()]
    requests = [(event["path"], event["status"]) for event in events if event["event"] == "request"]
    assert requests == [("grpc:ServerLive", 200), ("grpc:ModelReady", 404)]


def _connections(pid: int, port: int) -> int:
    """How many connections to a port a process has accepted, as the kernel tells."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    accepted = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
    return sum(str(link.readlink()) in accepted for link in Path(f"/proc/{pid}/fd").iterdir())


def test_several_workers_answer_on_one_port(tmp_path: Path, mnist: Mnist, plain: Any) -> None:
    """Connections are spread over the workers, their counts are one, and a worker that died is replaced."""
    port = free_port()
    expected = plain.run(["probabilities"], {"image": mnist.images[:20, None]})[0]
    flags = ("--provider", "cpu", "--workers", "2", "--grpc-port", str(port))
    with process(tmp_path / "log", *flags) as running, ExitStack() as open_together:
        for number in range(20):
            client = open_together.enter_context(calling(port))
            answer = client.call("ModelInfer", asking(mnist.images[number : number + 1], "probabilities"))
            assert abs(tensors(answer)["probabilities"] - expected[number]).max() < 1e-4
            told = client.call("ModelStatistics", pb.ModelStatisticsRequest(name="digits")).model_stats[0]
            assert told.inference_count == number + 1  # whichever worker tells
        workers = Path(f"/proc/{running.popen.pid}/task/{running.popen.pid}/children").read_text().split()
        shares = [_connections(int(pid), port) for pid in workers]
        assert len(shares) == 2 and sum(shares) == 20 and min(shares) > 0
        os.kill(int(workers[0]), signal.SIGKILL)
        while "replaced" not in running.log.read_text():
            time.sleep(0.05)
        with calling(port) as client:
            assert client.call("ServerReady").ready
        assert running.end() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_two_services_do_not_share_a_port(tmp_path: Path, workers: str) -> None:
    """The second one ends by 3 and names the port, where gRPC by itself would let both answer in turns."""
    port = free_port()
    flags = ("--provider", "cpu", "--workers", workers, "--grpc-port", str(port))
    with process(tmp_path / "log", *flags):
        ended = run_service(*flags)
    assert ended.returncode == 3 and "Traceback" not in ended.stderr
    (event,) = [json.loads(line) for line in ended.stderr.splitlines()]
    assert event["event"] == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_port_that_is_taken_meanwhile_stops_the_start() -> None:
    """Taken by somebody else after the look at it, it is an error of the service's own, with its sentence."""

    async def start(port: int) -> None:
        settings = Settings(models=MODELS, provider="cpu", grpc_port=port)
        app = create_app(settings)
        async with grpc_server(app.state.digitscope, app.journal, shared=False):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"cannot listen for gRPC on 127.0.0.1:{port}"):
            asyncio.run(start(port))


@pytest.mark.parametrize("port", [None, 0])
def test_nothing_of_grpc_is_imported_unasked(port: int | None) -> None:
    """Without a port, or with 0, the service starts without the extra, and takes no time or memory for it."""
    code = (
        "import sys, service.command as m; m.create_app(m.Settings(grpc_port=%r, provider='cpu'));"
        "print([n for n in sys.modules if n.split('.')[0] in ('grpc', 'google')])"
    )
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code % port], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is refused by one sentence that says what to install."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ValidationError) as raised:
        Settings(grpc_port=8001)
    (problem,) = raised.value.errors()
    assert problem["msg"] == "gRPC needs the extra grpc: pip install 'digitscope[grpc]'"
    assert Settings(grpc_port=0).grpc_port == 0


def test_a_missing_extra_stops_the_start() -> None:
    """`--grpc-port` without the extra ends by 2, with that sentence and nothing else."""
    code = "import sys; sys.modules['grpc'] = None; from service.command import main; sys.exit(main())"
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, "--grpc-port", "8001"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2 and ran.stdout == ""
    assert ran.stderr == "service: setting grpc_port: gRPC needs the extra grpc: pip install 'digitscope[grpc]'\n"
