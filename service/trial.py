"""A version tried in a process of its own before any that serves opens it.

A file that was made to hurt may end the process that opens it, or take all of its memory. That process is then one that
answers nobody. `python -m service.trial` reads settings and a version from standard input, and writes why the version
is refused, or nothing.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from service.candidate import open_version, reason
from service.engine import usable_gpu
from service.errors import DigitscopeError
from service.settings import Settings

_YIELDING = 5  # nice(2): what serves goes first
_MEMORY = 2**30  # bytes of address space beyond what the process has before; what a GPU takes of it nobody can tell
_SECONDS = 120  # of a CPU
_ENDING = 1.0  # seconds that it has to end in, once it has written all

PATIENCE = 120.0
"""The seconds that a trial may take, and each step that workers take behind it."""

LONGEST = 65536
"""The most bytes of a verdict; whatever else a trial writes is passed over."""


def command() -> list[str]:
    """What runs a trial."""
    return [sys.executable, "-m", "service.trial"]


def environment() -> dict[str, str]:
    """What a trial finds in its environment: no setting of the service's, since it is told all that it needs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DIGITSCOPE_")}


def order(settings: Settings, version: str) -> bytes:
    """What a trial reads: nothing that it does not need."""
    needed = {"models", "model_name", "provider", "precision", "runtime", "threads", "model_public_key"}
    return json.dumps({**settings.model_dump(mode="json", include=needed), "model_version": version}).encode()


def verdict(output: bytes, status: int) -> str:
    """Why a version is refused, by what its trial has written and how it ended; nothing of one that is good."""
    if status < 0:
        return f"opening it ended the process that tried it, by signal {-status}"
    if status:
        return "it could not be tried: the log has the cause"
    return output.decode(errors="replace").strip()


class Trial:
    """A trial that runs, to be waited for as a file is. Its process is never waited for longer than a second or two."""

    def __init__(self, settings: Settings, version: str) -> None:
        process = self._process = subprocess.Popen(  # noqa: S603 — our own module
            command(), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin and process.stdout  # noqa: S101 — it has pipes
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(order(settings, version))
        self._stdout = process.stdout
        self._output = b""

    def fileno(self) -> int:
        """What is waited for."""
        return self._stdout.fileno()

    def hear(self) -> str | None:
        """Takes what it has written; its verdict once that was all, and None until then."""
        if come := os.read(self.fileno(), LONGEST):
            self._output = (self._output + come)[:LONGEST]
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING)
        return verdict(self._output, self.end())

    def end(self) -> int:
        """Ends it, if it has not ended; returns the status of its process."""
        self._process.kill()
        self._stdout.close()
        try:
            return self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:  # the system itself holds it up
            return -signal.SIGKILL

    def leave(self) -> None:
        """Closes what its parent alone reads; for a process that has inherited it."""
        self._stdout.close()


def _limit(settings: Settings) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 — not on Windows

        os.nice(_YIELDING)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not usable_gpu(settings.provider):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limit = pages * resource.getpagesize() + _MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _main() -> int:
    wanted: Mapping[str, Any] = json.load(sys.stdin)
    settings = Settings(**wanted)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what is printed is the verdict
    _limit(settings)
    try:
        open_version(settings, settings.model_version)
    except DigitscopeError as error:
        print(reason(error, settings))
    except MemoryError:
        print("opening it takes more memory than it may")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
