"""What a call says of itself beside its message: in the log there is what is asked for, and nothing secret."""

from pathlib import Path

from tests.service.keyed import KEYS, LINES
from tests.service.protocol.grpc import frames
from tests.service.protocol.grpc.calling import calling, free_port
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
