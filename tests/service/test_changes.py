"""The model changed while requests are answered: by request, by SIGHUP, by watching; in all workers or in none."""

import asyncio
import contextlib
import http.client
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.candidates import KINDS, Candidates
from benchmarks.changes import load_version, run_changes
from tests.service.serving import MODELS, ROOT, VERSION, Process, process
from tests.service.test_workers import children, until

_DIGIT = bytes(784)
_RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def candidates(tmp_path: Path) -> Candidates:
    """Versions by script, of which the first is there."""
    found = Candidates(tmp_path / "models")
    found.make(1)
    return found


@contextlib.contextmanager
def serving(folder: Path, *flags: str, workers: int = 2) -> Iterator[Process]:
    """The service with the versions of a folder, in so many workers."""
    models = ("--models", str(folder / "models"))
    with process(folder / "log", "--provider", "cpu", "--workers", str(workers), *models, *flags) as running:
        yield running


def answering(port: int) -> set[str]:
    """The versions that answer on connections enough to reach every worker."""
    found = set()
    for _ in range(40):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/predict", _DIGIT, _RAW)
        found.add(json.loads(connection.getresponse().read())["model"]["version"])
        connection.close()
    return found


def index(running: Process) -> dict[str, tuple[str, str]]:
    """State and reason of each version, as the repository's index tells them."""
    entries: list[dict[str, Any]] = httpx.post(f"{running.url}/v2/repository/index", trust_env=False).json()
    return {entry["version"]: (entry["state"], entry["reason"]) for entry in entries}


@pytest.mark.parametrize("workers", [2, pytest.param(1, marks=pytest.mark.changes)])
def test_changes_under_load(tmp_path: Path, candidates: Candidates, workers: int) -> None:
    """Good versions are taken and each kind of broken one is refused with its reason, and no request is the worse.

    Every answer is that of the version which it names, and none comes from a version that was refused, or that was
    over when the request began.
    """
    changes = 2 * len(KINDS) if workers == 2 else 4
    with serving(tmp_path, "--repository-api", workers=workers) as running:
        found = asyncio.run(run_changes(candidates, running.port, changes=changes, connections=6, pause=0.003))
        assert found.wrong == [] and found.failures == 0
        assert found.loaded == changes // 2 and sum(found.refused.values()) == changes // 2
        assert workers == 1 or found.refused == dict.fromkeys(KINDS, 1)
        assert found.versions == found.loaded + 1  # each of them has answered, and so has the first
        text = httpx.get(f"{running.url}/metrics", trust_env=False).text
        assert f'digitscope_model_changes_total{{outcome="loaded"}} {found.loaded}.0' in text
        assert f'digitscope_model_changes_total{{outcome="refused"}} {changes // 2}.0' in text
        assert running.end() == 0


@pytest.mark.changes
def test_what_watches_and_what_is_killed(tmp_path: Path, candidates: Candidates) -> None:
    """A new version is taken when its manifest appears, a broken one is not, and a new worker has what the others have.

    The one that is broken is refused by SIGHUP too, and taken when it has been mended.
    """
    with serving(tmp_path, "--watch") as running:
        assert answering(running.port) == {"1"}
        candidates.make(2)
        until(lambda: index(running)["2"] == ("READY", ""), "it is not taken")
        assert answering(running.port) == {"2"}
        manifest = candidates.make(3, "flipped byte") / "manifest.json"
        until(lambda: "has SHA-256" in index(running)["3"][1], "it is not refused")
        assert index(running)["3"][0] == "UNAVAILABLE" and answering(running.port) == {"2"}
        assert str(tmp_path) not in index(running)["3"][1]
        before = children(running.popen.pid)
        first, second = before
        os.kill(first, signal.SIGKILL)
        until(lambda: len(children(running.popen.pid) - before) == 1, "it is not replaced")
        os.kill(second, signal.SIGKILL)
        until(lambda: len(children(running.popen.pid) - before) == 2, "the other one is not replaced")
        until(lambda: answering(running.port) == {"2"}, "the new workers serve something else")
        assert "has SHA-256" in index(running)["3"][1]
        manifest.rename(manifest.with_suffix(".old"))
        running.popen.send_signal(signal.SIGHUP)
        until(lambda: running.log.read_text().count('"version": "2"') >= 6, "nothing is loaded anew")
        candidates.make(3)
        until(lambda: answering(running.port) == {"3"}, "it is not taken when it is whole")
        assert running.end() == 0


@pytest.mark.changes
@pytest.mark.parametrize("workers", [2, 1])
def test_sighup_takes_the_newest(tmp_path: Path, candidates: Candidates, workers: int) -> None:
    """Whether the service has several processes or one."""
    with serving(tmp_path, workers=workers) as running:
        candidates.make(12)
        candidates.make(13, "missing manifest")
        running.popen.send_signal(signal.SIGHUP)
        until(lambda: answering(running.port) == {"12"}, "it is not taken")
        assert index(running) == {
            "1": ("UNAVAILABLE", "it is not loaded"),
            "12": ("READY", ""),
            "13": ("UNAVAILABLE", "it is not loaded"),
        }
        running.popen.send_signal(signal.SIGHUP)
        time.sleep(0.2)  # or sooner or later: it ends in order in the midst of a change too
        assert running.end() == 0


@pytest.mark.changes
def test_a_version_that_ends_its_process_ends_no_worker(tmp_path: Path, candidates: Candidates) -> None:
    """What would take all memory is tried elsewhere, within limits: the workers never see it, and serve on."""
    with serving(tmp_path, "--repository-api") as running:
        before = children(running.popen.pid)
        folder = candidates.make(2)
        (folder / "manifest.json").write_text("[" * 900_000)
        status, said = load_version(running.port, 2)
        assert status == 400 and "breaks the contract" in said and str(tmp_path) not in said
        assert children(running.popen.pid) == before and answering(running.port) == {"1"}


@pytest.mark.changes
def test_who_loses_the_terminal_ends(tmp_path: Path, candidates: Candidates) -> None:
    """SIGHUP of a terminal that was closed ends the service, as it always did; it is no wish for another model."""
    del candidates
    log = tmp_path / "log"
    master, slave = pty.openpty()
    with log.open("wb") as file:
        command = [sys.executable, "-m", "service", "--port", "0", "--provider", "cpu", "--workers", "2"]
        code = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        running = subprocess.Popen(  # noqa: S603 — our own module
            [sys.executable, "-c", code, *command, "--models", str(tmp_path / "models")],
            cwd=ROOT, stdin=slave, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    os.close(slave)
    try:
        until(lambda: "running on" in log.read_text(), "it does not start")
        os.close(master)
        assert running.wait(60) == 0
    finally:
        running.kill()
        running.wait()


def test_two_versions_side_by_side(tmp_path: Path) -> None:
    """Those that are named are asked under their own paths, with counts of their own, until they are let go."""
    models = tmp_path / "models" / "digits"
    for version in ("1", VERSION):
        shutil.copytree(MODELS / "digits" / version, models / version)
    with serving(tmp_path, "--repository-api", "--serve-versions", "1") as running:
        headers = {"Inference-Header-Content-Length": "0"}

        def infer(path: str) -> httpx.Response:
            url = f"{running.url}/v2/models/digits{path}/infer"
            return httpx.post(url, content=_DIGIT, headers=headers, trust_env=False)

        def stats(version: str) -> Any:
            answer = httpx.get(f"{running.url}/v2/models/digits/versions/{version}/stats", trust_env=False)
            return answer.json()["model_stats"][0]["inference_count"] if answer.status_code == 200 else None

        for _ in range(6):
            infer("/versions/1")
            infer("")
        for _ in range(3):
            infer(f"/versions/{VERSION}")
        for version in ("1", VERSION):
            length = int((answer := infer(f"/versions/{version}")).headers["Inference-Header-Content-Length"])
            assert json.loads(answer.content[:length])["model_version"] == version
        until(lambda: (stats("1"), stats(VERSION)) == (7, 10), "they are counted as something else")
        told = httpx.get(f"{running.url}/v2/models/digits", trust_env=False).json()
        assert told["versions"] == ["1", VERSION]
        unload = f"{running.url}/v2/repository/models/digits/unload"
        answer = httpx.post(unload, json={"parameters": {"version": "1"}}, trust_env=False, timeout=60)
        assert (answer.status_code, answer.json()) == (200, {})
        assert {infer("/versions/1").status_code for _ in range(20)} == {404}
        assert infer("").status_code == 200
        assert running.end() == 0
