"""Worker processes: they share a port and their counts, one that dies is replaced, and they end together."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.listeners import listening_sockets
from tests.service.serving import ROOT, Process, process, run_service

PATH = "/v2/models/digits/infer"
RAW = {"Inference-Header-Content-Length": "0"}
_PATIENCE = 60  # seconds


def children(pid: int) -> set[int]:
    """The processes that a process has made, and which live."""
    with contextlib.suppress(OSError):
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return set()


def lives(pid: int) -> bool:
    """Whether a process is there, and no mere zombie that an end has left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(happened: Callable[[], object], said: str) -> None:
    """Waits for what is to happen."""
    deadline = time.monotonic() + _PATIENCE
    while not happened():
        assert time.monotonic() < deadline, said
        time.sleep(0.01)


@contextlib.contextmanager
def two_workers(folder: Path, *flags: str) -> Iterator[Process]:
    """The service in two workers, with a folder of its own for temporary files."""
    temporary = folder / "temporary"
    temporary.mkdir()
    with process(folder / "log", "--provider", "cpu", "--workers", "2", *flags, TMPDIR=str(temporary)) as running:
        yield running


def left(folder: Path) -> list[Path]:
    """The files in the folder for temporary files: there are none to be left behind."""
    return list((folder / "temporary").iterdir())


def predict(port: int, connection: http.client.HTTPConnection | None = None) -> int:
    """The status of a prediction of one digit, on a connection of its own unless one is given."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        own.request("POST", PATH, bytes(784), RAW)
        answer = own.getresponse()
        answer.read()
    finally:
        if connection is None:
            own.close()
    return answer.status


def metric(port: int, name: str, **labels: str) -> float:
    """One sample of the metrics, 0 where there is none yet."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=_PATIENCE).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"digitscope_{name}" and sample.labels == labels:
                return sample.value
    return 0.0


def predicted(port: int) -> float:
    """How many predictions have been answered, by the metrics."""
    return metric(port, "requests_total", route="/v2/models/{model}/infer", method="POST", status="200")


def test_two_workers_share_a_port_and_their_counts(tmp_path: Path) -> None:
    """Both answer, and whichever is asked tells the sum of what both have counted."""
    with two_workers(tmp_path) as running:
        assert len(children(running.popen.pid)) == 2
        names = set()
        for _ in range(60):
            answer = httpx.post(running.url + PATH, content=bytes(784), headers=RAW, trust_env=False)
            assert answer.status_code == 200
            names.add(answer.headers["X-Request-ID"].partition("-")[0])  # each worker begins its ids by one of its own
        assert len(names) == 2, "one of them was asked nothing in 60 connections"
        until(lambda: predicted(running.port) == 60, "not all are counted")
        for _ in range(12):
            assert predicted(running.port) == 60
            assert metric(running.port, "workers") == 2
            assert metric(running.port, "batch_images_sum") == 60
            (stats,) = httpx.get(f"{running.url}/v2/models/stats", trust_env=False).json()["model_stats"]
            assert stats["inference_count"] == stats["inference_stats"]["success"]["count"] == 60
        assert running.end() == 0
    assert left(tmp_path) == []


def test_a_killed_worker_is_replaced_again_and_again(tmp_path: Path) -> None:
    """Each time the other serves on meanwhile, new connections are all answered, and no count falls or is lost."""
    with two_workers(tmp_path) as running:
        answered = 0
        for _ in range(3):
            before = children(running.popen.pid)
            connections = [http.client.HTTPConnection("127.0.0.1", running.port, timeout=_PATIENCE) for _ in range(24)]
            assert [predict(running.port, connection) for connection in connections] == [200] * 24
            answered += 24
            until(lambda answered=answered: predicted(running.port) == answered, "not all are counted")  # type: ignore[misc]
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: not lives(victim), "the worker lives on")  # type: ignore[misc]
            kept = 0
            for connection in connections:
                with contextlib.suppress(ConnectionError, http.client.RemoteDisconnected):
                    kept += predict(running.port, connection) == 200
                connection.close()
            assert 0 < kept < 24, "each worker had some of 24 connections, and one of them lost its own"
            answered += kept
            assert [predict(running.port) for _ in range(12)] == [200] * 12  # some of them wait for the new worker
            answered += 12
            until(lambda answered=answered: predicted(running.port) == answered, "not all are counted")  # type: ignore[misc]
            after = children(running.popen.pid)
            assert len(after) == 2 and len(after & before) == 1 and victim not in after
            assert metric(running.port, "workers") == 2
        events = [json.loads(line) for line in running.log.read_text().splitlines()]
        assert [event["status"] for event in events if event["event"] == "a worker died and is replaced"] == [-9] * 3
        assert sum(event["event"].startswith("running on ") for event in events) == 1
        assert running.end() == 0
    assert left(tmp_path) == []


def test_all_end_in_order_with_what_is_under_way(tmp_path: Path) -> None:
    """Asked to end, each worker answers what it has begun, the exit status is 0, and nothing is left of them."""
    with two_workers(tmp_path) as running:
        workers = children(running.popen.pid)
        connections = [socket.create_connection(("127.0.0.1", running.port), _PATIENCE) for _ in range(12)]
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\nContent-Length: 784\r\n"
        for connection in connections:
            connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        running.popen.terminate()
        until(lambda: running.log.read_text().count("Shutting down") == 2, "they do not end")
        for connection in connections:
            connection.sendall(bytes(784))
        for connection in connections:
            assert b"".join(iter(lambda: connection.recv(65536), b"")).startswith(b"HTTP/1.1 200 ")  # noqa: B023
            connection.close()
        assert running.popen.wait(_PATIENCE) == 0
        assert not any(map(lives, workers))
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", running.port), 5)
        assert "Traceback" not in running.log.read_text() and "replaced" not in running.log.read_text()
    assert left(tmp_path) == []


def cpu_seconds(pid: int) -> float:
    """What a process has taken of a CPU so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_the_parent_rests_while_its_workers_end(tmp_path: Path) -> None:
    """Nothing of a change of model is due any more, by which it would be woken again and again."""
    with two_workers(tmp_path, "--watch", "--drain-delay", "6") as running:
        running.popen.terminate()
        time.sleep(3)  # by which it would look for a newer version
        before = cpu_seconds(running.popen.pid)
        time.sleep(1)
        assert cpu_seconds(running.popen.pid) - before < 0.5
        assert running.popen.wait(_PATIENCE) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Who does not want to wait for a request that never ends asks twice: its worker is gone without an order."""
    with two_workers(tmp_path) as running:
        workers = children(running.popen.pid)
        with socket.create_connection(("127.0.0.1", running.port), _PATIENCE) as connection:
            head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 784\r\nExpect: 100-continue\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            running.popen.terminate()
            until(lambda: "Waiting for connections to close" in running.log.read_text(), "nothing is waited for")
            running.popen.terminate()
            assert running.popen.wait(_PATIENCE) == 0
        assert not any(map(lives, workers))
        assert running.log.read_text().count("Finished server process") < 2
    assert left(tmp_path) == []


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1, 0.2])
def test_a_signal_in_the_middle_of_the_start_is_not_lost(tmp_path: Path, delay: float) -> None:
    """Whatever its workers have got to when it comes, all of them end, the exit status is 0, and no file is left."""
    with (tmp_path / "log").open("wb") as log:
        starting = subprocess.Popen(
            [sys.executable, "-m", "service", "--port", "0", "--provider", "cpu", "--workers", "2"],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stderr=log,
        )
    try:
        until(lambda: children(starting.pid), "no worker comes")
        time.sleep(delay)
        starting.terminate()
        assert starting.wait(_PATIENCE) == 0
    finally:
        starting.kill()
        starting.wait()
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_signal_while_a_worker_is_replaced_is_not_lost(tmp_path: Path) -> None:
    """A worker that has hardly begun when all are to end ends with them."""
    with two_workers(tmp_path) as running:
        os.kill(min(children(running.popen.pid)), signal.SIGKILL)
        until(lambda: "is replaced" in running.log.read_text(), "nobody replaces it")
        assert running.end() == 0
        assert children(running.popen.pid) == set()
    assert left(tmp_path) == []


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """A parent that is killed without a word leaves no worker behind, and its port is free again."""
    with two_workers(tmp_path) as running:
        workers = children(running.popen.pid)
        assert len(workers) == 2
        running.popen.kill()
        running.popen.wait(_PATIENCE)
        until(lambda: not any(map(lives, workers)), "a worker serves on without its parent")
        for opened in listening_sockets("127.0.0.1", running.port, 2):
            opened.close()
    assert left(tmp_path) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_cannot_open_is_not_tried_again(tmp_path: Path, workers: str) -> None:
    """The exit status is 3, with a sentence from each worker and none of a replacement."""
    ended = run_service("--provider", "cpu", "--models", str(tmp_path), "--workers", workers, TMPDIR=str(tmp_path))
    assert ended.returncode == 3
    said = [event for event in map(json.loads, ended.stderr.splitlines()) if event["level"] == "error"]
    assert {event["event"] for event in said} >= {f"{tmp_path}/digits has no version with a manifest"}
    assert "replaced" not in ended.stderr and "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_port_of_another_service_is_not_joined(server: Process, workers: str) -> None:
    """Though its workers share their port among them, a second service on it is refused, and the first serves on."""
    ended = run_service("--provider", "cpu", "--workers", workers, "--port", str(server.port))
    assert ended.returncode == 3
    assert "address already in use" in ended.stderr.lower() and "Traceback" not in ended.stderr
    assert [predict(server.port) for _ in range(10)] == [200] * 10


def test_workers_follow_the_setting(tmp_path: Path) -> None:
    """Three are three, and one is no process of its own."""
    (tmp_path / "temporary").mkdir()
    temporary = str(tmp_path / "temporary")
    for workers in (3, 1):
        with process(tmp_path / "log", "--provider", "cpu", "--workers", str(workers), TMPDIR=temporary) as running:
            assert len(children(running.popen.pid)) == (workers if workers > 1 else 0)
            assert left(tmp_path) == []
            assert metric(running.port, "workers") == workers
            assert running.end() == 0


def test_sockets_share_one_port() -> None:
    """Each of several takes some of the connections to the one port that the first of them was given."""
    sockets = listening_sockets("127.0.0.1", 0, 3)
    assert len({opened.getsockname() for opened in sockets}) == 1
    taken = [0, 0, 0]
    with contextlib.ExitStack() as stack:
        for opened in sockets:
            stack.enter_context(opened)
            opened.setblocking(False)
        for _ in range(90):
            stack.enter_context(socket.create_connection(sockets[0].getsockname(), 5))
        for number, opened in enumerate(sockets):
            with contextlib.suppress(BlockingIOError):
                while True:
                    opened.accept()[0].close()
                    taken[number] += 1
    assert sum(taken) == 90 and min(taken) > 0


def test_a_port_of_ipv6_is_listened_on() -> None:
    """An address with colons is one of IPv6, where the machine has it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    first, second = listening_sockets("::1", 0, 2)
    with first, second:
        assert first.family == second.family == socket.AF_INET6
        assert first.getsockname() == second.getsockname()


def test_no_socket_is_left_where_a_port_cannot_be_had() -> None:
    """A failure closes those that were opened before it: nothing holds the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(OSError, match="in use"):
            listening_sockets("127.0.0.1", port, 2)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_predictions_go_on_while_a_worker_is_replaced(tmp_path: Path) -> None:
    """Of those asked without a pause while a worker is killed, only what was on its connections is not answered."""
    with two_workers(tmp_path) as running:
        statuses: list[int] = []
        ends = threading.Event()

        def ask() -> None:
            while not ends.is_set():
                with contextlib.suppress(ConnectionError, http.client.RemoteDisconnected):
                    statuses.append(predict(running.port))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        first = children(running.popen.pid)
        until(lambda: len(statuses) > 20, "nothing is answered")
        os.kill(max(first), signal.SIGKILL)
        until(lambda: len(children(running.popen.pid) - first) == 1, "nobody replaces it")
        seen = len(statuses)
        until(lambda: len(statuses) > seen + 20, "nothing is answered any more")
        ends.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200}
        # All but the one whose answer was out, and which was not counted yet, when the worker was killed.
        until(lambda: predicted(running.port) >= len(statuses) - 1, "not all are counted")
        assert running.end() == 0
