"""A server under test: how it is started, when it is ready, and how it ends with all its processes."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cpus import pinned
from benchmarks.digits import KNOWN, ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.form import Form
from benchmarks.places import without_places
from benchmarks.processes import processes_of

HOST = "127.0.0.1"
_START = 60.0  # seconds
_END = 10.0


@dataclass(frozen=True)
class Server:
    """A server that can be started; `{port}` in its command and environment is the port that it is to take."""

    name: str
    title: str
    command: tuple[str, ...]
    cpus: int | str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that runs: its port, its session's id, and what it has written."""

    port: int
    session: int
    log: Path


@contextmanager
def run_server(server: Server) -> Iterator[Running]:
    """Starts a server in a session of its own, and ends every process of it afterwards."""
    port = _free_port()
    environment = {name: text for name, text in os.environ.items() if not name.startswith("DIGITSCOPE_")}
    environment |= {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1"}
    environment |= {name: text.replace("{port}", str(port)) for name, text in server.environment.items()}
    command = pinned(server.cpus, [part.replace("{port}", str(port)) for part in server.command])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        try:
            yield Running(port, process.pid, log)
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    family = []  # as descriptors: an id may by then be another process's
    for member in processes_of(process.pid):
        with contextlib.suppress(ProcessLookupError):
            family.append(os.pidfd_open(member))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END)
    # What the server's own children left behind would go on taking time from the next one.
    for left in family:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(left, signal.SIGKILL)
        os.close(left)
    process.wait()


def wait_for_answer(running: Running, form: Form, *, pause: float = 0.05) -> bytes:
    """The first right answer, which is when a server counts as started.

    Raises:
        BenchmarkError: it ends, gives no answer, or a wrong one.
    """
    said = "no answer"
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if not Path(f"/proc/{running.session}").exists() or _is_dead(running.session):
            raise BenchmarkError(f"it ended at its start: {_last_lines(running.log)}")
        try:
            status, headers, body = ask(running.port, form)
        except (OSError, http.client.HTTPException):
            time.sleep(pause)
            continue
        if status == 200:
            check_answer(form, headers, body)
            return body
        said = f"status {status}: {body[:200].decode(errors='replace')}"
        if status not in {404, 503}:  # those mean, with some servers, that the model is still to be loaded
            break
        time.sleep(pause)
    raise BenchmarkError(f"no right answer to a known digit, but {said}")


def ask(port: int, form: Form) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in small letters) and body of the answer to the form's first body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_START)
    with contextlib.closing(connection):
        connection.request("POST", form.path, form.bodies[0], dict(form.headers))
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()


def check_answer(form: Form, headers: Mapping[str, str], body: bytes) -> None:
    """Holds that there is a digit for each image, and that the first is the known one.

    Raises:
        BenchmarkError: it is another, or the answer cannot be read.
    """
    try:
        found = form.read(headers, body)
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(f"the answer cannot be read ({error!r}): {body[:200]!r}") from error
    if len(found) != form.images or found[0] != KNOWN:
        raise BenchmarkError(
            f"{form.images} images, the first a known {KNOWN}, are answered by {len(found)}: {found[:3]} …"
        )


def _is_dead(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").strip().splitlines()[-2:]]
    return without_places(" | ".join(lines)) or "it said nothing"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port
