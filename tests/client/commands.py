"""The command as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.service.serving import ROOT

PATIENCE = 120  # seconds


def start(*arguments: str | Path, log: Path, **variables: str) -> "subprocess.Popen[bytes]":
    """Starts the command, which writes its log and its summary into a file, with variables in its environment."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("DIGITSCOPE_")}
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603 — our own module
            [sys.executable, "-m", "client", *map(str, arguments)],
            cwd=ROOT,
            env=environment | {"NO_PROXY": "127.0.0.1"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def command(*arguments: str | Path, log: Path, **variables: str) -> int:
    """Runs the command to its end, and gives its exit status."""
    process = start(*arguments, log=log, **variables)
    try:
        return process.wait(PATIENCE)
    finally:
        process.kill()
