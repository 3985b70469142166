"""A server's processes are found, measured and ended, wherever they went."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.memory import worker_memory
from benchmarks.processes import processes_of
from benchmarks.server import Server, run_server

_CHILD = "import time; held = b'x' * 50_000_000; print('ready', flush=True); time.sleep(60)"
_PARENT = (
    "import subprocess, sys, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {_CHILD!r}], start_new_session=True, stdout=subprocess.PIPE)\n"
    "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
)


def alive(process: int) -> bool:
    """Whether a process runs, rather than being gone or only waiting to be collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_in_a_session_of_its_own_belongs_to_its_server() -> None:
    """It counts in the memory, with what it holds, and it ends with the server, as the server itself does."""
    server = Server("parent", "parent", (sys.executable, "-c", _PARENT), "0-1023")
    with run_server(server) as running:
        deadline = time.monotonic() + 30
        while not (said := running.log.read_text()).endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.05)
        child = int(said)
        assert {child, running.session} <= processes_of(running.session)
        assert max(memory.rss_mb for memory in worker_memory(running.session)) > 50
    deadline = time.monotonic() + 10
    while alive(child) or alive(running.session):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_strangers_do_not_belong_to_a_server() -> None:
    """A process of another session, of which the server is no ancestor, is left alone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        with run_server(Server("own", "own", (sys.executable, "-c", _CHILD), "0-1023")) as running:
            assert stranger.pid not in processes_of(running.session)
        assert stranger.poll() is None
        stranger.kill()
