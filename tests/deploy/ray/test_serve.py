"""The service on Ray Serve, by its configuration: it answers, also when a replica is killed; run by `pytest -m ray`."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Mnist
from tests.service.asgi import finish
from tests.service.pictures import encode
from tests.service.protocol.grpc.calling import free_port
from tests.service.serving import ROOT, VERSION

pytestmark = pytest.mark.ray

_PATIENCE = 120  # seconds
_ASKING = 8  # at once


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the service in two replicas, deployed by `serve run` as deploy/ray/README.md says."""
    import yaml  # noqa: PLC0415 — these are in an environment of their own
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    port = free_port()
    content = yaml.safe_load((ROOT / "deploy" / "ray" / "config.yaml").read_text(encoding="utf-8"))
    content["http_options"]["port"] = port
    content["applications"][0]["deployments"][0]["ray_actor_options"]["num_cpus"] = 0.5
    folder = tmp_path_factory.mktemp("serve")
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "deploy.ray.again.middlewares")
        patch.delenv("RAY_ADDRESS", raising=False)
        node = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        stack.callback(cluster.shutdown)
        log = stack.enter_context((folder / "log").open("wb"))
        command = [sys.executable, "-m", "ray.serve.scripts", "run", "--address", cluster.address]
        process = subprocess.Popen([*command, str(folder / "config.yaml")], cwd=ROOT, stdout=log, stderr=log)  # noqa: S603
        stack.callback(_end, process)
        base = f"http://127.0.0.1:{port}"
        _until_ready(base, process, folder / "log")
        yield base


def _until_ready(base: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{base}/v2/health/ready", trust_env=False).status_code == 200 and len(_replicas()) == 2:
                return
        time.sleep(0.2)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    finally:
        process.kill()


def _replicas() -> set[int]:
    """The processes of the replicas."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if (process / "cmdline").read_bytes().startswith(b"ray::ServeReplica:digits"):
                found.add(int(process.name))
    return found


def test_a_digit_is_predicted(url: str) -> None:
    """The application is the service's own, with its model, its protocol and its page; its lifespan has been run."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        seven = (ROOT / "tests" / "data" / "seven.png").read_bytes()
        answer = client.post("/v1/predict", content=seven, headers={"Content-Type": "image/png"}).json()
        assert answer["model"] == {"name": "digits", "version": VERSION}
        assert answer["predictions"][0]["digit"] == 7
        assert client.get("/v2/models/digits").json()["name"] == "digits"
        assert client.get("/v1/model").json()["running"]["provider"] == "CPUExecutionProvider"
        assert client.get("/").text.startswith("<!doctype html>")
        refused = client.post("/v1/predict", content=b"no picture")
        assert refused.status_code == 415 and refused.json()["error"].startswith("this is no picture")


def test_no_request_is_lost_when_a_replica_is_killed(url: str, mnist: Mnist) -> None:
    """Clients that ask each thing once, and a replica killed by SIGKILL: all are answered, and rightly.

    It is stopped before, until a request hangs in it, so that one is surely lost with it and asked of the other.
    """
    pictures = [encode(image) for image in mnist.images[:100]]
    before = _replicas()
    assert len(before) == 2
    answered: list[tuple[int, int, int]] = []
    hanging: dict[int, float] = {}

    async def ask(client: httpx.AsyncClient, number: int, over: asyncio.Event) -> None:
        asker = number
        while not over.is_set():
            hanging[asker] = time.monotonic()
            answer = await client.post("/v1/predict", content=pictures[number % 100])
            digit = answer.json()["predictions"][0]["digit"] if answer.status_code == 200 else -1
            answered.append((number % 100, answer.status_code, digit))
            number += 1

    async def work() -> None:
        over = asyncio.Event()
        async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE, trust_env=False) as client:
            asking = [asyncio.create_task(ask(client, number, over)) for number in range(_ASKING)]
            await _until(lambda: len(answered) > 100)
            os.kill(min(before), signal.SIGSTOP)
            await _until(lambda: time.monotonic() - min(hanging.values()) > 1)
            os.kill(min(before), signal.SIGKILL)
            more = len(answered) + 200
            await _until(lambda: len(_replicas() - before) == 1 and len(answered) > more)
            over.set()
            await asyncio.gather(*asking)

    finish(work())
    assert {status for _, status, _ in answered} == {200}
    wrong = {number for number, _, digit in answered if digit != mnist.labels[number]}
    assert len(wrong) < 3 and len(_replicas() & before) == 1


async def _until(happened: Any) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not happened():
            await asyncio.sleep(0.02)
