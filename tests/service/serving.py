"""The service as the tests run it, always on a real socket: inside this process, and as a process of its own."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

import httpx
import uvicorn
from starlette.types import ASGIApp

from service.app import Application
from service.connection import Connection
from service.server import Watching

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
DATA = ROOT / "tests" / "data"
VERSION = str(max(int(folder.name) for folder in (MODELS / "digits").iterdir()))
"""The newest version that is shipped."""
_PATIENCE = 60  # seconds for a start or an end, on a busy machine


def with_thresholds(models: Path, **thresholds: float) -> Path:
    """A folder of models, with the newest version under thresholds of rejection."""
    folder = models / "digits" / VERSION
    shutil.copytree(MODELS / "digits" / VERSION, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"rejection": thresholds}))
    return models


@contextmanager
def serving(app: ASGIApp, *, lifespan: Literal["on", "off"] = "on", keep_alive: int = 5) -> Iterator[httpx.Client]:
    """A client of an application that runs in a thread of this process, where a test can reach into it.

    The service's own is on connections of the service's own. One on which nothing comes for `keep_alive` seconds ends.
    """
    config = uvicorn.Config(
        app, port=0, log_config=None, access_log=False, lifespan=lifespan, timeout_keep_alive=keep_alive
    )
    if isinstance(app, Application):
        config.http = cast("type[asyncio.Protocol]", partial(Connection, app.express))
    server = Watching(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + _PATIENCE
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the application does not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(_PATIENCE)
        assert not thread.is_alive(), "the application does not end"


@dataclass(frozen=True)
class Process:
    """A running `python -m service`, what it logs, and where it listens."""

    popen: subprocess.Popen[bytes]
    log: Path
    port: int

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> int:
        """Asks it to end, as `docker stop` does, and gives its exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(_PATIENCE)


def _command(flags: tuple[str, ...]) -> list[str]:
    port = () if "--port" in flags else ("--port", "0")
    return [sys.executable, "-m", "service", *port, *flags]


def _environment(variables: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIGITSCOPE_")}
    return kept | variables


@contextmanager
def process(log: Path, *flags: str, **variables: str) -> Iterator[Process]:
    """A process of its own that serves with flags and environment variables; it is ended afterwards."""
    with log.open("wb") as file:
        popen = subprocess.Popen(  # noqa: S603 — our own module
            _command(flags), cwd=ROOT, env=_environment(variables), stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while (found := re.search(r"running on http://(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)", log.read_text())) is None:
            assert popen.poll() is None and time.monotonic() < deadline, f"it does not start:\n{log.read_text()}"
            time.sleep(0.02)
        yield Process(popen, log, int(found[1]))
    finally:
        if popen.poll() is None:
            popen.terminate()
        popen.wait(_PATIENCE)


def run_service(*flags: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A run of `python -m service` that is to end by itself."""
    return subprocess.run(  # noqa: S603 — our own module
        _command(flags),
        check=False,
        cwd=ROOT,
        env=_environment(variables),
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )
