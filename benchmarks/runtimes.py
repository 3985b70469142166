"""`python -m benchmarks.runtimes`: ONNX Runtime and OpenVINO side by side, as engines and behind the service.

Everything is measured in turns and as CPU time, so that the table can be read even where others used the machine too.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.cpus import choose_cpus, pinned
from benchmarks.digits import ROOT
from benchmarks.figures import short, spread
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.memory import worker_memory
from benchmarks.peer import OPENVINO
from benchmarks.plan import service_server
from benchmarks.server import Server, run_server, wait_for_answer
from benchmarks.wrk import run_wrk

_POINTS = ((1, 1), (16, 1), (64, 1), (1, 256))  # connections, images a request
_USUAL = "int8"
Turns = dict[str, dict[str, list[float]]]


def _servers(cpu: int) -> list[Server]:
    # With patience: what is refused on a busy machine costs less than what is answered.
    flags = ("--precision", "int8", "--max-wait", "60000", "--runtime")
    return [
        service_server(name, name, cpu, *flags, runtime, python=OPENVINO.python)
        for name, runtime in ((_USUAL, "onnxruntime"), (f"{_USUAL}, OpenVINO", "openvino"))
    ]


def measure_engines(cpu: int) -> Turns:
    """Microseconds of CPU time an image by batch and engine, of each turn."""
    command = [str(OPENVINO.python), "-m", "benchmarks.engines"]
    told = subprocess.run(pinned(cpu, command), cwd=ROOT, capture_output=True, text=True, check=True)
    found: Turns = json.loads(told.stdout)
    return found


def measure_services(rounds: int, seconds: float) -> tuple[Turns, dict[str, list[float]], dict[str, list[float]]]:
    """Microseconds of the server's CPU time an image by load and server; its memory in MB; CPU seconds of its start."""
    cpus = choose_cpus()
    servers = _servers(cpus.server)
    loads: Turns = {}
    memory: dict[str, list[float]] = {}
    with ExitStack() as stack:
        running = {server.name: stack.enter_context(run_server(server)) for server in servers}
        for name, one in running.items():
            wait_for_answer(one, form("raw"))
            memory[name] = [process.rss_mb for process in worker_memory(one.session)]
        for connections, images in _POINTS:
            asked = form("raw", images)
            load = f"{connections} × {images}"
            loads[load] = {name: [] for name in running}
            for _ in range(rounds):
                for name, one in running.items():
                    before = _cpu_seconds(one.session)
                    told = run_wrk(one.port, asked, connections=connections, seconds=seconds, cpu=cpus.generator)
                    spent = _cpu_seconds(one.session) - before
                    loads[load][name].append(spent / (told.requests * images) * 1e6)
    starts: dict[str, list[float]] = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            with run_server(server) as started:
                wait_for_answer(started, form("raw"))
                starts[server.name].append(_cpu_seconds(started.session))
    return loads, memory, starts


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_page(
    engines: Turns,
    loads: Turns,
    memory: dict[str, list[float]],
    starts: dict[str, list[float]],
    facts: dict[str, str],
) -> str:
    """The page: medians, and how many times as much of ONNX Runtime's int8 is done in the same time."""
    lines = [
        "# ONNX Runtime and OpenVINO",
        "",
        "`python -m benchmarks.runtimes`: microseconds of CPU time an image on one thread (medians of turns), and in "
        "brackets how many times as many images that are as by ONNX Runtime's int8 in the same turn (median, "
        "least–most). A batch of one size comes again and again, `1 to 32, mixed` is batches of all these sizes.",
        "",
        *_table("batch", engines),
        "",
        "Behind the service, one worker, raw digits (connections × images a request), all that the server does:",
        "",
        *_table("load", loads),
        "",
        "| | resident after the start, MB | CPU time to the first right answer, s |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {spread(memory[name])} | {spread(starts[name])} |" for name in memory),
        "",
        *(f"- {name}: {text}" for name, text in facts.items()),
        "",
    ]
    return "\n".join(lines)


def _table(head: str, turns: Turns) -> list[str]:
    names = list(next(iter(turns.values())))
    lines = [f"| {head} | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for load, found in turns.items():
        cells = []
        for name in names:
            gain = spread(usual / one for usual, one in zip(found[_USUAL], found[name], strict=True))
            cells.append(short(median(found[name])) + ("" if name == _USUAL else f" [{gain}]"))
        lines.append(f"| {load} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes runtimes.json and runtimes.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of each load behind the service (default: 7)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a load (default: 3)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    OPENVINO.install()
    engines = measure_engines(choose_cpus().server)
    loads, memory, starts = measure_services(options.rounds, options.seconds)
    facts = {"date": dt.datetime.now(dt.UTC).date().isoformat(), **describe_machine(), **describe_packages()}
    facts["openvino"] = (OPENVINO.folder / "requirements.txt").read_text().partition("openvino==")[2].strip()
    content = {"facts": facts, "engines": engines, "loads": loads, "memory_mb": memory, "starts_s": starts}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "runtimes.json").write_text(json.dumps(content) + "\n")
    (options.out / "runtimes.md").write_text(write_page(engines, loads, memory, starts, facts))


if __name__ == "__main__":
    main()
