"""`python -m benchmarks`: measures this service, the floors of the machine and the peers, and writes what it found."""

import argparse
import datetime as dt
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.chart import draw_chart
from benchmarks.cold import cold_start
from benchmarks.cpus import choose_cpus
from benchmarks.digits import ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.plan import Measured, plan
from benchmarks.results import Results
from benchmarks.rounds import run_round
from benchmarks.server import run_server, wait_for_answer
from benchmarks.table import write_tables
from benchmarks.verdict import judge

_COLD_STARTS = 7


def main(arguments: list[str] | None = None) -> int:
    """Runs all; returns 0 measured, 1 part of this service could not be, 2 nothing can be measured here."""
    options = _parser().parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    try:
        results = _measure(options)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    verdicts = judge(results)
    # What a trial finds takes the place of no results that are committed.
    trial = options.quick or options.only or options.skip_peers
    out = options.out or (ROOT / ".bench" / "trial" if trial else ROOT / "benchmarks")
    out.mkdir(parents=True, exist_ok=True)
    written = results.as_json() | {"must_show": [asdict(verdict) for verdict in verdicts]}
    (out / "results.json").write_text(json.dumps(written, indent=1) + "\n")
    (out / "results.md").write_text(write_tables(results, verdicts))
    draw_chart(results, out / "chart.svg")
    for verdict in verdicts:
        held = {True: "held", False: "NOT HELD", None: "not measured"}[verdict.held]
        print(f"{verdict.line}  {verdict.text}: {verdict.found or '–'}, {verdict.bound}: {held}")
    print(f"written: {out / 'results.md'}, with results.json and chart.svg beside it")
    return int(any(name.startswith("digitscope") for name in results.failures()))


def _measure(options: argparse.Namespace) -> Results:
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            raise BenchmarkError(f"{tool} is missing: install the package wrk or util-linux of your distribution")
    cpus = choose_cpus()
    machine = describe_machine()
    os.sched_setaffinity(0, {cpus.generator})  # this process too keeps off the server's CPU
    service = next(measured.server for measured in plan(cpus) if measured.server.name == "digitscope")
    with run_server(service) as running:
        answer = wait_for_answer(running, form("raw"))
    chosen, absent = _installed(_chosen(plan(cpus, len(answer)), options))
    cold = []
    if not options.only or "digitscope" in options.only:
        _say("cold starts")
        cold = [cold_start(service, form("raw")) for _ in range(1 if options.quick else _COLD_STARTS)]
    rounds = []
    for number in range(options.rounds):
        _say(f"round {number + 1} of {options.rounds}")
        # Forth and back: what drifts over a round favours no one.
        rounds.append(run_round(chosen[:: -1 if number % 2 else 1], cpus, options.seconds, _say))
    return Results(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine,
        packages=describe_packages(),
        settings={"rounds": options.rounds, "seconds": options.seconds, "cpus": asdict(cpus)},
        titles={measured.server.name: measured.server.title for measured in chosen},
        absent=absent,
        cold=cold,
        rounds=rounds,
    )


def _chosen(everything: list[Measured], options: argparse.Namespace) -> list[Measured]:
    known = {measured.server.name for measured in everything}
    if unknown := set(options.only) - known:
        raise BenchmarkError(f"there is no {', '.join(sorted(unknown))}, but {', '.join(sorted(known))}")
    return [
        measured
        for measured in everything
        if (not options.only or measured.server.name in options.only) and not (options.skip_peers and measured.peer)
    ]


def _installed(chosen: list[Measured]) -> tuple[list[Measured], dict[str, str]]:
    """What can be measured, and what cannot with its cause: an environment that the network keeps from being made."""
    ready, absent = [], {}
    for measured in chosen:
        try:
            if measured.peer:
                _say(f"environment of {measured.server.title}")
                measured.peer.install()
            ready.append(measured)
        except BenchmarkError as error:
            absent[measured.server.name] = str(error)
            _say(f"  not measured: {error}")
    return ready, absent


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often all is measured in turn (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a load that a claim rests on (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one round of one second: whether it runs, not how fast")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="measure these servers alone")
    parser.add_argument("--skip-peers", action="store_true", help="measure no other model servers")
    parser.add_argument("--out", type=Path, help="folder (default: benchmarks/, for trials .bench/trial/)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
