"""`python -m service` as a process: how it starts, refuses to start, and ends."""

import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.service.pictures import drawn, encode
from tests.service.serving import process, run_service

PICTURE = encode(drawn())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Told to end, as `docker stop` or Ctrl-C do, it ends by 0, and is gone from its port."""
    with process(tmp_path / "log", "--provider", "cpu") as running:
        assert httpx.post(f"{running.url}/v1/predict", content=PICTURE, trust_env=False).status_code == 200
        running.popen.send_signal(number)
        assert running.popen.wait(20) == 0
        assert "Traceback" not in running.log.read_text()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", running.port), 5)


def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    """A picture that was half sent when the signal came is read to its end and answered."""
    with process(tmp_path / "log", "--provider", "cpu") as running:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PICTURE)}\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection(("127.0.0.1", running.port), 20) as connection:
            connection.sendall(head.encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # the request is under way
            connection.sendall(PICTURE[:100])
            running.popen.terminate()
            while "Shutting down" not in running.log.read_text():
                time.sleep(0.02)
            connection.sendall(PICTURE[100:])
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"digit"' in answer
        assert running.popen.wait(20) == 0


def test_it_drains_before_it_ends(tmp_path: Path) -> None:
    """For as long as it was told it is not ready and still answers all, on new connections, too, each time the last."""
    with (
        process(tmp_path / "log", "--provider", "cpu", "--drain-delay", "3") as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
    ):
        for path in ("/v2/health/ready", "/v2/models/digits/ready"):
            assert client.get(path).status_code == 200
        told = time.monotonic()
        running.popen.terminate()
        while "Connection" not in (answer := client.get("/v2/health/ready")).headers:
            assert time.monotonic() < told + 60
        assert answer.status_code == 503 and answer.json() == {"ready": False}
        answers = [
            client.post("/v1/predict", content=PICTURE),
            client.get("/v2/models/digits/ready"),
            client.get("/v2/health/live"),
            client.get("/metrics"),
            client.post(
                "/v2/models/digits/infer", content=bytes(784), headers={"Inference-Header-Content-Length": "0"}
            ),
        ]
        assert [answer.status_code for answer in answers] == [200, 503, 200, 200, 200]
        assert "digitscope_ready 0.0" in answers[3].text
        assert {answer.headers["Connection"] for answer in answers} == {"close"}
        assert running.popen.wait(20) == 0
        assert time.monotonic() - told >= 3
        assert "Traceback" not in running.log.read_text()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Also while it drains, and though a request waits that would hold it up."""
    with (
        process(tmp_path / "log", "--provider", "cpu", "--drain-delay", "600") as running,
        socket.create_connection(("127.0.0.1", running.port), 20) as connection,
    ):
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        running.popen.terminate()
        while httpx.get(f"{running.url}/v2/health/ready", trust_env=False).status_code == 200:
            time.sleep(0.01)
        running.popen.terminate()
        assert running.popen.wait(20) == 0


def test_a_signal_to_the_whole_group_is_one_signal(tmp_path: Path) -> None:
    """Ctrl-C and systemd tell the workers beside their parent, who tells them once more: they drain all the same."""
    with process(tmp_path / "log", "--provider", "cpu", "--workers", "2", "--drain-delay", "2") as running:
        pid = running.popen.pid
        workers = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        assert len(workers) == 2
        told = time.monotonic()
        for each in (*workers, pid):
            os.kill(each, signal.SIGINT)
        while httpx.get(f"{running.url}/v2/health/ready", trust_env=False).status_code == 200:
            assert time.monotonic() < told + 60
        for _ in range(5):
            assert httpx.post(f"{running.url}/v1/predict", content=PICTURE, trust_env=False).status_code == 200
        assert running.popen.wait(30) == 0
        assert time.monotonic() - told >= 2


def test_settings_reach_the_service(tmp_path: Path) -> None:
    """Flags and variables change what runs."""
    with process(tmp_path / "log", "--threads", "1", DIGITSCOPE_PROVIDER="cpu", DIGITSCOPE_MAX_BODY="99") as running:
        told = httpx.get(f"{running.url}/v1/model", trust_env=False).json()["running"]
        assert (told["threads"], told["asked"]) == (1, "cpu")
        answer = httpx.post(f"{running.url}/v1/predict", content=PICTURE, trust_env=False)
        assert answer.status_code == 413 and "99 bytes" in answer.json()["error"]


def refusal(*flags: str) -> str:
    """The sentence by which a start ends that is refused: the one event of level error."""
    ended = run_service("--provider", "cpu", *flags)
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr and ended.stdout == ""
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    sentence = next(event["event"] for event in events if event["level"] == "error")
    assert isinstance(sentence, str) and "\n" not in sentence
    return sentence


@pytest.fixture
def copied(tmp_path: Path, model_folder: Path) -> Path:
    """The shipped version, in a models folder of the test's own."""
    return Path(shutil.copytree(model_folder, tmp_path / "digits" / model_folder.name))


@pytest.mark.parametrize("place", [5000, -1])
def test_a_flipped_bit_stops_the_start(copied: Path, place: int) -> None:
    """One bit anywhere in the ONNX file, and nothing is served."""
    model = bytearray((copied / "model.onnx").read_bytes())
    model[place] ^= 1
    (copied / "model.onnx").write_bytes(model)
    sentence = refusal("--models", str(copied.parents[1]))
    assert sentence.startswith(f"{copied / 'model.onnx'} has SHA-256 ") and "but its manifest says" in sentence


def test_a_missing_manifest_stops_the_start(copied: Path) -> None:
    """A model without a manifest is none."""
    (copied / "manifest.json").unlink()
    assert refusal("--models", str(copied.parents[1])) == f"{copied.parent} has no version with a manifest"


def test_a_version_that_is_not_there_stops_the_start() -> None:
    """The sentence names the file that was looked for."""
    said = refusal("--model-version", "999")
    assert said == "models/digits/999/manifest.json cannot be read: No such file or directory"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_stops_the_start(workers: str) -> None:
    """It ends with an error and says so, and does not wait."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_service("--provider", "cpu", "--workers", workers, "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 3
    assert "address already in use" in ended.stderr.lower() and "Traceback" not in ended.stderr
