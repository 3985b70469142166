"""What a call says of itself beside its message: in the log there is what is asked for, and nothing secret."""

import json
import re
from pathlib import Path

import grpc
import pytest

from service.journal import TICKET, Journal
from tests.conftest import Mnist
from tests.service.keyed import KEYS, LINES
from tests.service.protocol.grpc import frames
from tests.service.protocol.grpc.calling import asking, calling, free_port
from tests.service.protocol.grpc.conftest import Served
from tests.service.serving import process


def test_metadata_that_is_no_utf_8_is_not_logged(tmp_path: Path) -> None:
    """A key with a byte too many is refused as any wrong one is, and of it and fifty other fields there is no line."""
    port = free_port()
    flags = ("--provider", "cpu", "--workers", "1", "--grpc-port", str(port))
    key = KEYS["predict"]
    with process(tmp_path / "log", *flags, DIGITSCOPE_API_KEYS=LINES) as running:
        with calling(port) as client:
            assert client.call("ServerLive").live
        before = running.log.read_bytes()
        fields = [(b"x-%d" % number, b"\xff" * 20) for number in range(50)]
        for method in (b"ModelInfer", b"ServerLive", b"NoMethod"):
            path = b"/inference.GRPCInferenceService/" + method
            came = frames.call(port, path, (b"authorization", b"Bearer " + key.encode() + b"\xff"), *fields)
            assert {b"ModelInfer": b"\x0216", b"ServerLive": b"\x010", b"NoMethod": b"\x0212"}[method] in came
        assert running.log.read_bytes() == before
        assert running.end() == 0
    assert key not in running.log.read_text()


def test_the_access_log_has_the_id_that_a_caller_gives(tmp_path: Path, mnist: Mnist) -> None:
    """As over HTTP, without keys or traces: one that is well formed, of a call and of each request of a stream."""
    port = free_port()
    flags = ("--provider", "cpu", "--workers", "1", "--grpc-port", str(port), "--access-log")
    with process(tmp_path / "log", *flags) as running, calling(port) as client:
        infer = client.method("ModelInfer")
        infer(asking(mnist.images[:1]), metadata=(("x-request-id", "first"),))
        infer(asking(mnist.images[:1]), metadata=(("x-request-id", "not one"),))
        with pytest.raises(grpc.RpcError):
            infer(b"\xff", metadata=(("x-request-id", "third"),))
        stream = client.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        asked = iter([asking(mnist.images[:1]).SerializeToString()] * 2)
        assert len(list(stream(asked, metadata=(("x-request-id", "streamed"),), timeout=60))) == 2
        assert running.end() == 0
        events = [json.loads(line) for line in running.log.read_text().splitlines()]
    first, second, *others = [event["request_id"] for event in events if event["event"] == "request"]
    assert first == "first" and others == ["third", "streamed", "streamed"]
    assert re.fullmatch(r"[0-9a-f]{16}-\d", second)


def test_a_failure_is_logged_under_the_id_that_a_caller_gives(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no access log is kept: what nobody had foreseen is found by it."""
    found: list[str] = []
    monkeypatch.setattr(Journal, "failed", lambda _self, _error: found.append(TICKET.get().id.decode()))
    monkeypatch.setattr(type(served.state), "is_ready", lambda _self: 1 / 0)
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.method("ServerReady")(b"", metadata=(("x-request-id", "unforeseen"),))
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert found == ["unforeseen"]
