"""`python -m benchmarks.viewer`: what a viewer who looks inside costs those who only want a prediction.

The service runs with one worker on one CPU, at half of the rate that it reaches; requests are due at that rate whatever
it does. In turns it does so alone, and beside a viewer who does what the page does: a new drawing ten times a second,
each with its maps, a trace, an attribution and its look-alikes.
"""

import argparse
import datetime as dt
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cpus import choose_cpus, pinned
from benchmarks.digits import ROOT, digits, png
from benchmarks.figures import short, spread
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.plan import service_server
from benchmarks.server import HOST, run_server, wait_for_answer
from benchmarks.wrk import run_wrk

_PAUSE = 0.1  # seconds between two drawings
_VIEWS = (
    "/v1/predict?seen=true",
    "/v1/features?preprocess=none&layer=all&format=npz",
    "/v1/trace?preprocess=none&layer=conv2&channel=5&y=7&x=3&follow=true",
    "/v1/attribution?preprocess=none&method=occlusion",
    "/v1/neighbours?preprocess=none",
)


@dataclass(frozen=True)
class Round:
    """Latencies in milliseconds of one run alone and of one beside a viewer, and how many drawings that one saw."""

    alone: dict[str, float]
    beside: dict[str, float]
    errors: int
    drawings: int


class Viewer(threading.Thread):
    """Looks inside until it is told to stop. What it asks is asked one after the other, as its page would wait."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.drawings = 0
        self._port = port
        self._over = threading.Event()

    def run(self) -> None:
        """Draws, and looks at each drawing in every way."""
        pictures = [png(digit) for digit in digits(64)]
        with closing(http.client.HTTPConnection(HOST, self._port, timeout=30)) as connection:
            while not self._over.is_set():
                began = time.perf_counter()
                for view in _VIEWS:
                    connection.request("POST", view, pictures[self.drawings % len(pictures)])
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{view} is answered by {answer.status}")
                self.drawings += 1
                self._over.wait(max(0, _PAUSE - (time.perf_counter() - began)))

    def stop(self) -> None:
        """Ends it."""
        self._over.set()
        self.join()


def _load(port: int, rate: float, seconds: float, cpu: int) -> tuple[dict[str, float], int]:
    """Percentiles in milliseconds of an open-loop run, and how many requests were not served."""
    command = [sys.executable, "-m", "benchmarks.overload", "--port", str(port), "--rate", str(rate)]
    told = subprocess.run(
        pinned(cpu, [*command, "--seconds", str(seconds)]), cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(told.stdout)
    return found["served_ms"], found["requests"] - found["served"]


def measure(rounds: int, seconds: float) -> tuple[float, list[Round]]:
    """The rate at which was asked, and what each round brought; who goes first changes from round to round."""
    cpus = choose_cpus()
    os.sched_setaffinity(0, {cpus.generator})  # the viewer is in this process, and takes nothing from the server
    raw = form("raw")
    found = []
    with run_server(service_server("digitscope", "digitscope", cpus.server)) as running:
        wait_for_answer(running, raw)
        rate = run_wrk(running.port, raw, connections=64, seconds=5, cpu=cpus.generator).rate / 2
        warm = Viewer(running.port)  # what is made at the first look is no part of what looking costs
        warm.start()
        time.sleep(3)
        warm.stop()
        for number in range(rounds):
            latencies: dict[str, dict[str, float]] = {}
            errors = drawings = 0
            for kind in ("alone", "beside") if number % 2 else ("beside", "alone"):
                viewer = Viewer(running.port)
                if kind == "beside":
                    viewer.start()
                latencies[kind], failed = _load(running.port, rate, seconds, cpus.generator)
                errors += failed
                if kind == "beside":
                    viewer.stop()
                    drawings = viewer.drawings
            found.append(Round(latencies["alone"], latencies["beside"], errors, drawings))
    return rate, found


def write_table(rate: float, rounds: list[Round], facts: dict[str, str]) -> str:
    """The page: a row a percentile, medians of the rounds with the least and the most."""
    drawings = spread(found.drawings for found in rounds)
    lines = [
        "# A viewer beside predictions",
        "",
        f"`python -m benchmarks.viewer`: prepared digits at {short(rate)} a second, half of what one worker on one CPU "
        f"reaches, alone and beside a viewer who looks at {drawings} drawings in each run: their maps, a trace, an "
        f"attribution with its faithfulness, and look-alikes. {len(rounds)} rounds in turns; medians (least–most) in "
        f"milliseconds. Requests that were not served: {sum(found.errors for found in rounds)}.",
        "",
        "| | alone | beside a viewer | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in ("p50", "p90", "p99"):
        alone, beside = ([getattr(found, kind)[name] for found in rounds] for kind in ("alone", "beside"))
        ratio = spread(more / less for more, less in zip(beside, alone, strict=True))
        lines.append(f"| {name} | {spread(alone)} | {spread(beside)} | {ratio} |")
    lines += ["", *(f"- {name}: {text}" for name, text in facts.items()), ""]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes viewer.json and viewer.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how many (default: 7)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (default: 5)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    rate, rounds = measure(options.rounds, options.seconds)
    facts = {"date": dt.datetime.now(dt.UTC).date().isoformat(), **describe_machine(), **describe_packages()}
    content = {"facts": facts, "rate": rate, "rounds": [asdict(found) for found in rounds]}
    (options.out / "viewer.json").write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "viewer.md").write_text(write_table(rate, rounds, facts))


if __name__ == "__main__":
    main()
