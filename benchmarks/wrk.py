"""Closed-loop load by wrk: a number of connections, each of which asks again as soon as it is answered."""

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpus import pinned
from benchmarks.errors import BenchmarkError
from benchmarks.form import Form

_FAILURES = ("connect", "read", "write", "status", "timeout")

# One request is made of each body before the load begins, and they are sent in turn.
_SCRIPT = """\
local requests, turn = {{}}, 0
function init()
  for number = 0, {count} - 1 do
    local file = assert(io.open({folder} .. "/" .. number, "rb"))
    requests[number] = wrk.format("POST", {path}, {{{headers}}}, file:read("*a"))
    file:close()
  end
end
function request()
  turn = (turn + 1) % {count}
  return requests[turn]
end
function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    'figures {{"requests": %d, "microseconds": %d, "p50_us": %d, "p99_us": %d, "most_us": %d, ' ..
    '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    failed.connect, failed.read, failed.write, failed.status, failed.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What a load brought: answers a second, and the time of one in microseconds."""

    requests: int
    rate: float
    p50_us: float
    p99_us: float


def run_wrk(port: int, form: Form, *, connections: int, seconds: float, cpu: int | str) -> Load:
    """Loads a server for some seconds.

    Raises:
        BenchmarkError: wrk is missing, or not every answer was a good one.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = _write_script(Path(folder), form)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{_duration(seconds)}", "--timeout", "10s"]
        command += ["-s", str(script), f"http://127.0.0.1:{port}"]
        try:
            told = subprocess.run(pinned(cpu, command), capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise BenchmarkError(f"{error.filename} is missing") from error
    if told.returncode:
        raise BenchmarkError(f"wrk failed: {(told.stderr or told.stdout).strip()[-200:]}")
    return read_wrk(told.stdout)


def read_wrk(output: str) -> Load:
    """The figures in what wrk wrote.

    Raises:
        BenchmarkError: there are none, or an error was among the answers: that is a failure and no figure.
    """
    line = re.search(r"^figures (\{.*\})$", output, re.MULTILINE)
    if line is None:
        raise BenchmarkError(f"wrk wrote no figures: {output.strip()[-200:]}")
    found = json.loads(line[1])
    failures = {name: found[name] for name in _FAILURES if found[name]}
    if failures:
        raise BenchmarkError(f"beside {found['requests']} answers there were failures: {failures}")
    if not found["requests"]:
        raise BenchmarkError("not one request was answered in time")
    return Load(found["requests"], found["requests"] / found["microseconds"] * 1e6, found["p50_us"], found["p99_us"])


def _write_script(folder: Path, form: Form) -> Path:
    for number, body in enumerate(form.bodies):
        (folder / str(number)).write_bytes(body)
    # A JSON string of plain ASCII is also one of Lua.
    headers = ", ".join(f"[{json.dumps(name)}] = {json.dumps(text)}" for name, text in form.headers.items())
    script = folder / "script.lua"
    script.write_text(
        _SCRIPT.format(
            count=len(form.bodies), folder=json.dumps(str(folder)), path=json.dumps(form.path), headers=headers
        )
    )
    return script


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))}s"  # wrk knows whole seconds alone
