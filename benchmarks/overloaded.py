"""`python -m benchmarks.overloaded`: what the service does with several times the load that it can serve."""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.cpus import Cpus, choose_cpus, pinned
from benchmarks.digits import ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.figures import short
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.memory import worker_memory
from benchmarks.overload import OpenLoop
from benchmarks.plan import MANY, service_server
from benchmarks.server import Running, ask, run_server, wait_for_answer
from benchmarks.wrk import run_wrk

LEVELS = (2.0, 5.0, 10.0)
"""Times the peak."""

BOUNDS = {2.0: 0.9, 10.0: 0.8}
"""The least goodput at a level, in parts of the peak, where serving costs far more than refusing."""

_REFUSED_MS = 50.0
_RECOVERED = 1.0  # seconds
_FLAT_MB = 10.0
_PROBES = 20
_PAUSE = 0.5  # seconds between two looks at the memory


@dataclass(frozen=True)
class Kind:
    """What is asked: a form with so many images.

    Attributes:
        connections: by how many the peak is reached.
        standing: how many are open before the load begins, as those of many clients are.
        claimed: whether the bounds are to hold for it.
    """

    title: str
    form: str
    images: int
    connections: int
    standing: int
    claimed: bool


KINDS = {
    "photo": Kind("photographs (JPEG, 1024×768)", "photo", 1, 2, 256, claimed=True),
    "raw256": Kind(f"{MANY} prepared digits a request", "raw", MANY, 16, 256, claimed=True),
    "png": Kind("PNG of 28×28 pixels", "png", 1, 64, 1024, claimed=False),
    "raw": Kind("single prepared digits", "raw", 1, 64, 1024, claimed=False),
}


@dataclass(frozen=True)
class Level:
    """One run.

    Attributes:
        level: times the peak that was asked for.
        peak: answers a second of the closed loop just before.
        run: what became of the requests.
        seconds: of the load.
        memory_mb: resident memory of the worker before it, in its second tenth, the most of it, and in its last tenth;
            medians of many looks, since what a burst has freed is given back now and then.
        late_answer: seconds from the end of the load to the last answer.
        probes_refused: of the requests one after the other that follow, those that were not served.
        probe_ms: the slowest of them.
        server_cpu: the part of its CPU that the server had; below 1, it idled or others had the rest.
    """

    level: float
    peak: float
    run: OpenLoop
    seconds: float
    memory_mb: tuple[float, float, float, float]
    late_answer: float
    probes_refused: int
    probe_ms: float
    server_cpu: float

    @property
    def offered(self) -> float:
        """Times the peak that were really sent."""
        return self.run.requests / self.seconds / self.peak

    @property
    def goodput(self) -> float:
        """What was served a second, in parts of the peak."""
        return self.run.served / max(self.run.seconds, self.seconds) / self.peak

    @property
    def growth_mb(self) -> float:
        """How much the memory grew from the second tenth of the load to the last."""
        return self.memory_mb[3] - self.memory_mb[1]

    def shortcomings(self, kind: Kind) -> list[str]:
        """What of the promise this run does not keep."""
        found = []
        bound = BOUNDS.get(self.level)
        if kind.claimed and bound is not None and self.goodput < bound:
            found.append(f"goodput {self.goodput:.2f}, below {bound:g}")
        if kind.claimed and self.run.refused_ms and self.run.refused_ms["p99"] > _REFUSED_MS:
            found.append(f"refusals take {short(self.run.refused_ms['p99'])} ms at the 99th percentile")
        if self.run.errors:
            found.append(f"{self.run.errors} requests neither served nor refused")
        if self.growth_mb > _FLAT_MB:
            found.append(f"memory grew by {self.growth_mb:.0f} MB")
        if self.late_answer > _RECOVERED or self.probes_refused:
            found.append(f"recovered late: {self.late_answer:.2f} s, {self.probes_refused} probes refused")
        if self.offered < 0.95 * self.level:
            found.append(f"the generator offered {self.offered:.1f} times the peak only")
        return found


class _Memory(threading.Thread):
    """Looks at the resident memory of the server's largest process until it is told to stop."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._over = threading.Event()
        self.found: list[tuple[float, float]] = []  # when, and MB

    def look(self) -> float:
        """MB of 10⁶ bytes."""
        return max(memory.rss_mb for memory in worker_memory(self._session))

    def run(self) -> None:
        while not self._over.wait(_PAUSE):
            self.found.append((time.monotonic(), self.look()))

    def stop(self) -> None:
        """Ends it."""
        self._over.set()
        self.join()


def _measure(kind: Kind, level: float, seconds: float, running: Running, cpus: Cpus) -> Level:
    asked = form(kind.form, kind.images)
    peak = run_wrk(
        running.port, asked, connections=kind.connections, seconds=max(2, min(5, seconds / 3)), cpu=cpus.generator
    ).rate
    command = [sys.executable, "-m", "benchmarks.overload", "--port", str(running.port), "--form", kind.form]
    command += ["--images", str(kind.images), "--rate", str(peak * level), "--seconds", str(seconds), "--cut"]
    command += ["--standing", str(kind.standing)]
    memory, used = _Memory(running.session), _cpu_seconds(running.session)
    before, began = memory.look(), time.monotonic()
    memory.start()
    told = subprocess.run(pinned(cpus.generator, command), cwd=ROOT, capture_output=True, text=True, check=False)
    memory.stop()
    used, took = _cpu_seconds(running.session) - used, time.monotonic() - began
    if told.returncode:
        raise BenchmarkError(f"the generator failed: {told.stderr.strip()[-300:]}")
    run = OpenLoop(**json.loads(told.stdout))
    refused, slowest = _probe(running, kind)
    sizes = [mb for when, mb in memory.found if began + 1 <= when <= began + 1 + seconds] or [before]
    tenth = max(1, len(sizes) // 10)
    early, end = median(sizes[tenth : 2 * tenth] or sizes), median(sizes[-tenth:])
    late = max(0.0, run.seconds - seconds)
    return Level(level, peak, run, seconds, (before, early, max(sizes), end), late, refused, slowest, used / took)


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _probe(running: Running, kind: Kind) -> tuple[int, float]:
    asked = form(kind.form, kind.images)
    refused, slowest = 0, 0.0
    for _ in range(_PROBES):
        start = time.perf_counter()
        status, _, _ = ask(running.port, asked)
        slowest = max(slowest, (time.perf_counter() - start) * 1e3)
        refused += status != 200
    return refused, slowest


def write_table(found: dict[str, list[Level]], facts: dict[str, str]) -> str:
    """The page: a row a level of each kind, and what was not kept."""
    lines = [
        "# Overload",
        "",
        "`python -m benchmarks.overloaded`: the service on one CPU, the generator on another. Requests come at a fixed "
        "rate whatever the server does, many times its peak (by a closed loop, just before each row), and latencies "
        "count from when each was due. Goodput is what was served a second in parts of that peak. Where the generator "
        "could not offer what it was to, the row says what it did. All requests come from one address, which is given "
        "half of what may wait.",
        "",
        "| requests | times the peak | seconds | offered | peak/s | goodput | served p50, p99 ms | refused/s | refused "
        "p50, p99, max ms | sent late, p99 ms | errors | memory MB: before, early, most, end | last answer after, s | "
        "probes refused, slowest ms | connections | CPU: generator's, server's |",
        "|" + " --- |" * 16,
    ]
    missed = []
    for name, levels in found.items():
        kind = KINDS[name]
        for level in levels:
            run = level.run
            cells = [
                kind.title,
                f"{level.level:g}",
                f"{level.seconds:g}",
                f"{level.offered:.2f}",
                short(level.peak),
                f"{level.goodput:.3f}",
                _of(run.served_ms, "p50", "p99"),
                short(run.refused / max(run.seconds, level.seconds)),
                _of(run.refused_ms, "p50", "p99", "max"),
                _of(run.late_ms, "p99"),
                str(run.errors),
                ", ".join(f"{mb:.0f}" for mb in level.memory_mb),
                f"{level.late_answer:.2f}",
                f"{level.probes_refused}, {short(level.probe_ms)}",
                str(run.connections),
                f"{run.cpu:.2f}, {level.server_cpu:.2f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
            missed += [f"{kind.title}, {level.level:g} times: {text}" for text in level.shortcomings(kind)]
    lines += [
        "",
        f"Promised for photographs and for {MANY} digits a request: goodput of at least 0.9 at 2 times and 0.8 at 10, "
        f"and refusals in {_REFUSED_MS:g} ms (99th percentile). For all: no request unanswered, memory that grows by "
        f"{_FLAT_MB:g} MB at most from the second tenth of the load to the last, and all well a second after it.",
        "",
        *(f"- **not kept**: {text}" for text in missed),
        *([] if missed else ["All of it was kept."]),
        "",
        *(f"- {name}: {text}" for name, text in facts.items()),
        "",
    ]
    return "\n".join(lines)


def _of(figures: dict[str, float], *names: str) -> str:
    return ", ".join(short(figures[name]) for name in names) if figures else "–"


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes overload.json and overload.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overloaded", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of each level, a quarter where nothing is promised (default: 60)"
    )
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS, help="times the peak (default: 2 5 10)")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS), help="of requests (default: all)")
    parser.add_argument("--out", type=Path, help="folder (default: benchmarks/, or .bench/trial/ below 30 seconds)")
    options = parser.parse_args(arguments)
    cpus = choose_cpus()
    os.sched_setaffinity(0, {cpus.generator})
    found: dict[str, list[Level]] = {}
    for name in options.kinds:
        kind = KINDS[name]
        with run_server(service_server("digitscope", "digitscope", cpus.server)) as running:
            wait_for_answer(running, form(kind.form, kind.images))
            seconds = options.seconds if kind.claimed else options.seconds / 4
            for level in options.levels:
                found.setdefault(name, []).append(_measure(kind, level, seconds, running, cpus))
                print(name, json.dumps(asdict(found[name][-1])), file=sys.stderr, flush=True)
    facts = {"date": dt.datetime.now(dt.UTC).date().isoformat(), **describe_machine(), **describe_packages()}
    out = options.out or (ROOT / "benchmarks" if options.seconds >= 30 else ROOT / ".bench" / "trial")
    out.mkdir(parents=True, exist_ok=True)
    content = {"facts": facts, "levels": {name: [asdict(level) for level in levels] for name, levels in found.items()}}
    (out / "overload.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "overload.md").write_text(write_table(found, facts))
    print(f"written: {out / 'overload.md'}, with overload.json beside it")


if __name__ == "__main__":
    main()
