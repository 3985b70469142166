"""Faults: what becomes of every request when a worker is killed, the engine fails, or logs or clocks go wrong."""

import ast
import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import structlog

from benchmarks.account import Clients
from service.app import create_app
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.serving import MODELS, ROOT, Process, serving
from tests.service.test_workers import children, metric, predicted, two_workers, until
from tests.service.thin_requests import INFER, LENGTH, PREPARED
from tests.service.wire import Wire, head

PICTURE = encode(drawn())
DIGIT = head("POST", INFER, f"{LENGTH}: 0", "Content-Length: 784") + bytes(784)


def connections(pid: int) -> int:
    """How many connections a process has accepted that stand, by the tables of the system."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[3] == "01" and fields[9] in own for fields in lines)  # 01 is ESTABLISHED


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def test_the_requests_of_a_killed_worker_fail_alone(tmp_path: Path) -> None:
    """Of clients who ask without a pause each loses the request on a connection of the killed worker, and no other.

    Each is lost by the end of its connection, and the service has counted all that were answered, those of the killed
    worker too, and at the most those besides that were lost on their way back.
    """
    number = 24

    async def load(running: Process) -> tuple[Clients, int]:
        clients = Clients("127.0.0.1", running.port, [DIGIT], number)
        asking = asyncio.create_task(clients.run())
        await asyncio.sleep(0.7)
        victim = max(children(running.popen.pid))
        held = connections(victim)
        os.kill(victim, signal.SIGKILL)
        before = sum(clients.account.answered.values())
        while sum(clients.account.answered.values()) < before + 50 * number:
            await asyncio.sleep(0.02)
        clients.stop()
        await asking
        return clients, held

    with two_workers(tmp_path, "--max-wait", "60000") as running:
        clients, held = asyncio.run(load(running))
        account = clients.account
        assert 0 < held < number and len(account.lost) == held, account
        assert set(account.answered) == {200} and account.refused == 0
        assert all(cause.startswith(("ConnectionResetError", "IncompleteReadError")) for cause in account.lost), account
        assert account.answered[200] <= predicted(running.port) <= account.sent
        until(lambda: metric(running.port, "workers") == 2, "nobody replaces it")
        assert running.end() == 0


def test_a_failing_engine_fails_those_that_it_fails_on(
    mnist: Mnist, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request for a digit at which it raises is a 500, the others of its batch are right; all are counted."""
    images = mnist.images[:60]
    (expected,) = plain.run(["probabilities"], {"image": images[:, None]})
    bad = set(range(0, 60, 7))
    poison = {images[number].tobytes() for number in bad}
    app = create_app(Settings(models=MODELS, provider="cpu", max_wait=60_000, max_queue_delay=20_000))

    async def ask(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            return await asyncio.gather(
                *(client.post("/v1/predict", content=image.tobytes(), headers=PREPARED) for image in images)
            )

    with serving(app) as client, structlog.testing.capture_logs():
        engine = app.state.digitscope.loaded.engine
        predict = engine.predict

        def failing(batch: Any) -> Any:
            if any(image.tobytes() in poison for image in batch[:, 0]):
                raise RuntimeError("the card has fallen off")
            return predict(batch)

        monkeypatch.setattr(engine, "predict", failing)
        answers = asyncio.run(ask(str(client.base_url)))
        assert {number for number, answer in enumerate(answers) if answer.status_code == 500} == bad
        for number, answer in enumerate(answers):
            if number in bad:
                assert list(answer.json()) == ["error"] and "card" not in answer.text
            else:
                (prediction,) = answer.json()["predictions"]
                np.testing.assert_allclose(prediction["probabilities"], expected[number], atol=1e-5)
        counts = client.get("/metrics").text
        for status, count in Counter(answer.status_code for answer in answers).items():
            assert f'{{method="POST",route="/v1/predict",status="{status}"}} {count}.0' in counts


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_costs_the_logs_and_nothing_else(workers: str) -> None:
    """Where not a line can be written it starts, answers everything, counts what it has answered, and ends by 0."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with Path("/dev/full").open("wb") as full:
        flags = ("--provider", "cpu", "--access-log", "--workers", workers, "--port", str(port))
        command = [sys.executable, "-m", "service", *flags]
        buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # as it is unless one asks for something else
        popen = subprocess.Popen(command, cwd=ROOT, stdout=full, stderr=full, env=buffered)  # noqa: S603 — our own module
        try:
            until(lambda: listens(port), "it does not start")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
                statuses = Counter(client.post("/v1/predict", content=PICTURE).status_code for _ in range(100))
                statuses += Counter(client.post("/v1/predict", content=b"x").status_code for _ in range(10))
                statuses += Counter(client.post("/v1/features", content=PICTURE).status_code for _ in range(2))
                assert statuses == {200: 102, 415: 10}
            for route, status, count in (("predict", 200, 100), ("predict", 415, 10), ("features", 200, 2)):
                labels = {"method": "POST", "route": f"/v1/{route}", "status": str(status)}
                assert metric(port, "requests_total", **labels) == count
            popen.terminate()
            assert popen.wait(60) == 0
        finally:
            popen.kill()
            popen.wait()


def test_a_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Years to and fro at each look at the time of day: what waits, rests, is slow or in a hurry does not notice.

    Each request is answered as it would be else, and counted once.
    """
    jumps = itertools.cycle([0.0, 4e9, 1e9, 3.9e9, 1.0])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    settings = Settings(models=MODELS, provider="cpu", timeout=30, patience=20, max_queue_delay=2000)
    with serving(create_app(settings), keep_alive=20) as client, Wire(client) as wire, Wire(client) as half:
        half.send(DIGIT[:-1])
        ended = time.monotonic() + 2.5
        asked = 0
        while time.monotonic() < ended:
            wire.send(DIGIT)
            assert wire.answer().status == 200
            asked += 1
            for path in ("/v1/predict", "/v1/features?format=npy"):
                answer = client.post(path, content=PICTURE, headers={"X-Request-Timeout": "20"})
                assert answer.status_code == 200
        half.send(DIGIT[-1:])
        assert half.answer().status == 200
        late = client.post("/v1/predict", content=PICTURE, headers={"X-Request-Timeout": "0.000001"})
        assert late.status_code == 504
        counts = client.get("/metrics").text
        for route, status, count in (
            ("/v2/models/{model}/infer", 200, asked + 1),
            ("/v1/predict", 200, asked),
            ("/v1/features", 200, asked),
            ("/v1/predict", 504, 1),
        ):
            assert f'{{method="POST",route="{route}",status="{status}"}} {count}.0' in counts
        seconds = [float(line.split()[-1]) for line in counts.splitlines() if "request_seconds_sum" in line]
        assert asked > 5 and all(0 <= value < 60 for value in seconds)


def test_nothing_is_timed_by_the_time_of_day() -> None:
    """It is asked for twice: for what Prometheus is told of the newest run, and for when a trace's span began."""
    found = []
    for path in sorted((ROOT / "service").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                if name in {
                    "time.time",
                    "time.time_ns",
                    "datetime.now",
                    "dt.datetime",
                    "time.localtime",
                    "time.gmtime",
                }:
                    found.append((path.name, name))
    assert found == [("metrics.py", "time.time"), ("telemetry.py", "time.time_ns")]
