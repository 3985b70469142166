"""`python -m benchmarks.cost`: the CPU time of a request, of this service, of a plain one, and of what asks them.

A server that has its CPU to itself answers as many requests as their cost leaves room for. The cost can be told where
other work takes that CPU, too: servers take turns, and they are compared within each round.
"""

import argparse
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cpus import Cpus, choose_cpus
from benchmarks.errors import BenchmarkError
from benchmarks.figures import ratios, spread
from benchmarks.form import form
from benchmarks.peer import PEERS
from benchmarks.plan import peer_server, service_server
from benchmarks.processes import processes_of
from benchmarks.server import Running, Server, run_server, wait_for_answer
from benchmarks.sink import sink
from benchmarks.wrk import run_wrk

_CONNECTIONS = 64
_TRACED: dict[str, dict[str, str]] = {
    "all traced": {},
    "one in a hundred traced": {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
}
_PLAIN, _PNG, _RAW, _TWO = "plain FastAPI, upload", "png", "raw", "raw, 2 workers"


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU a request, of all processes of a server and of the load generator."""

    server: float
    generator: float


@dataclass(frozen=True)
class _Asked:
    server: Server
    form: str
    generator: int | str


def main() -> int:
    """Measures and writes a table; returns 0, or 1 with one sentence that says why not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each server in each round")
    parser.add_argument("--before", type=Path, help="another checkout of this project, to be compared with")
    parser.add_argument("--traces", action="store_true", help="also with traces (extra traces)")
    options = parser.parse_args()
    try:
        with sink() as collector:
            asked = _asked(choose_cpus(), options.before, collector if options.traces else None)
            rounds = measure(asked, options.rounds, options.seconds)
    except BenchmarkError as error:
        print(f"cost: {error}", file=sys.stderr)
        return 1
    print(write_table(rounds))
    return 0


def _asked(cpus: Cpus, before: Path | None, collector: str | None) -> dict[str, _Asked]:
    plain = PEERS[0]
    plain.install()
    own = service_server("digitscope", "digitscope", cpus.server)
    two = service_server("digitscope-2", "digitscope, 2 workers", cpus.both, workers=2)
    asked = {
        _PLAIN: _Asked(peer_server(plain, cpus.server), "plain-upload", cpus.generator),
        _PNG: _Asked(own, "png", cpus.generator),
        _RAW: _Asked(own, "raw", cpus.generator),
        _TWO: _Asked(two, "raw", cpus.both),
    }
    if before is not None:
        # -P: else what is imported is what lies where the server is started.
        command = (own.command[0], "-P", *own.command[1:])
        old = replace(own, name="before", command=command, environment={"PYTHONPATH": str(before.resolve())})
        asked |= {f"{name}, before": replace(asked[name], server=old) for name in (_PNG, _RAW)}
    if collector is not None:
        for name, variables in _TRACED.items():
            traced = service_server(name, name, cpus.server, "--traces", collector)
            asked[f"{_RAW}, {name}"] = replace(asked[_RAW], server=replace(traced, environment=variables))
    return asked


def measure(asked: Mapping[str, _Asked], rounds: int, seconds: float) -> list[dict[str, Cost]]:
    """What each cost in each round, by name; a server that is asked in two forms is started once.

    Raises:
        BenchmarkError: a server does not start, or an answer is no good one.
    """
    with ExitStack() as stack:
        running = {each.server.name: each.server for each in asked.values()}
        started = {name: stack.enter_context(run_server(server)) for name, server in running.items()}
        for each in asked.values():
            wait_for_answer(started[each.server.name], form(each.form))
            _cost(started[each.server.name], each, 1)  # warms
        return [
            {name: _cost(started[each.server.name], each, seconds) for name, each in asked.items()}
            for _ in range(rounds)
        ]


def _cost(running: Running, asked: _Asked, seconds: float) -> Cost:
    before, generator_before = _used(running.session), _used_by_children()
    load = run_wrk(running.port, form(asked.form), connections=_CONNECTIONS, seconds=seconds, cpu=asked.generator)
    server, generator = _used(running.session) - before, _used_by_children() - generator_before
    return Cost(server / load.requests * 1e6, generator / load.requests * 1e6)


def _used(session: int) -> float:
    """Seconds of CPU that the processes of a server have used."""
    ticks = 0
    for process in processes_of(session):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _used_by_children() -> float:
    """Seconds of CPU of what this process has started and seen the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_table(rounds: Sequence[Mapping[str, Cost]]) -> str:
    """The costs as Markdown, and below them what they amount to."""
    lines = ["| asked | server, µs a request | generator, µs a request |", "| --- | --- | --- |"]
    for name in rounds[0]:
        costs = [each[name] for each in rounds]
        lines.append(f"| {name} | {spread(cost.server for cost in costs)} | {spread(c.generator for c in costs)} |")
    servers = {name: [each[name].server for each in rounds] for name in rounds[0]}
    together = [each[_TWO].server + each[_TWO].generator for each in rounds]
    told = [
        ("plain FastAPI / png", ratios(servers[_PLAIN], servers[_PNG])),
        # Two CPUs do the work of two workers and of the generator, where one did that of one worker alone.
        ("two workers / one, as far as both CPUs reach", ratios([2 * cost for cost in servers[_RAW]], together)),
    ]
    told += [
        (f"{name}, before / after", ratios(servers[f"{name}, before"], servers[name]))
        for name in (_PNG, _RAW)
        if f"{name}, before" in servers
    ]
    told += [
        (f"{name} / {_RAW}", ratios(servers[name], servers[_RAW]))
        for name in (f"{_RAW}, {traced}" for traced in _TRACED)
        if name in servers
    ]
    return "\n".join([*lines, "", *(f"- {what}: {spread(values)}" for what, values in told)])


if __name__ == "__main__":
    sys.exit(main())
