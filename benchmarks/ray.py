"""`python -m benchmarks.ray`: the batch client as a job of Ray Data beside `--local`, and with a worker killed.

MNIST's digits lie as PNG files in folders. On one CPU and on two they go through `--local` and through a cluster of Ray
that has a worker node a CPU; all that a run needs, the cluster's head too, shares these CPUs. Last a node is killed
while the job runs on two, and the rows are compared with those of `--local`. Ray is in an environment of its own:
`.venv-ray/bin/python -m benchmarks.ray`.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.batch import write_pictures
from benchmarks.cpus import choose_cpus
from benchmarks.digits import ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.figures import spread
from benchmarks.machine import describe_machine, describe_packages

_STORE = 200 * 2**20  # bytes of a node's objects
_ONE, _TWO = "one CPU", "two CPUs"
_LOCAL, _RAY = "--local", "--engine ray"


@dataclass(frozen=True)
class Run:
    """Images a second of a run: of the whole command, and as the command says, without its own start."""

    whole: float
    told: float


@dataclass(frozen=True)
class Killed:
    """What became of a job whose node was killed.

    Attributes:
        after: seconds from the start of the command to the kill.
        seconds: of the whole command.
        undisturbed: the same, of the median job on two CPUs with no kill.
        rows: in its folder.
        equal: whether they are those of `--local`, in the same order and to the last bit.
    """

    after: float
    seconds: float
    undisturbed: float
    rows: int
    equal: bool


@contextmanager
def _on(cpus: set[int]) -> Iterator[None]:
    """Has this process, and what it starts, run on these CPUs alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _cluster(nodes: int) -> Iterator[Any]:
    """A cluster of a head that does no work, and nodes with a CPU each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster  # noqa: PLC0415 — it is in an environment of its own

    head = {"num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, object_store_memory=_STORE)
        yield cluster
    finally:
        cluster.shutdown()


def _start(folder: Path, output: Path, *flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "client", str(folder), "--output", str(output), *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _end(process: "subprocess.Popen[str]", count: int) -> float:
    """Waits for a command, and gives the images a second that it tells."""
    told, _ = process.communicate()
    if process.returncode or not told.startswith(f"{count:,} inputs in"):
        raise BenchmarkError(f"a run ended by {process.returncode} and had not {count:,} inputs: {told}")
    return float(told.splitlines()[0].split(", ")[-1].split()[0].replace(",", ""))


def _run(folder: Path, output: Path, count: int, *flags: str) -> Run:
    began = time.perf_counter()
    told = _end(_start(folder, output, *flags), count)
    return Run(count / (time.perf_counter() - began), told)


def _ray(cluster: Any) -> tuple[str, ...]:
    return ("--engine", "ray", "--ray-address", str(cluster.address))


def measure(folder: Path, place: Path, rounds: int, count: int) -> dict[str, list[Run]]:
    """The runs of each, round by round, who goes first changing."""
    cpus = choose_cpus()
    several = {_ONE: {cpus.server}, _TWO: {cpus.server, cpus.generator}}
    runs: dict[str, list[Run]] = {}
    for number in range(rounds):
        for title, own in several.items():
            for engine in (_LOCAL, _RAY) if number % 2 == 0 else (_RAY, _LOCAL):
                output = place / f"{number}-{len(own)}{engine}.parquet"
                with _on(own):
                    if engine == _LOCAL:
                        run = _run(folder, output, count, "--local")
                    else:
                        with _cluster(len(own)) as cluster:
                            run = _run(folder, output, count, *_ray(cluster))
                runs.setdefault(f"{engine}, {title}", []).append(run)
    return runs


def kill(folder: Path, place: Path, count: int, undisturbed: float) -> Killed:
    """A job on two nodes, of which one is killed with all that is on it when half of the time is over."""
    process = None
    with _cluster(2) as cluster:
        try:
            began = time.perf_counter()
            process = _start(folder, place / "killed", *_ray(cluster))
            time.sleep(undisturbed / 2)
            after = time.perf_counter() - began
            if process.poll() is not None:
                raise BenchmarkError("the job had ended before its node could be killed")
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            _end(process, count)
            seconds = time.perf_counter() - began
        finally:
            if process is not None:
                process.kill()
    found = pa.concat_tables(pq.read_table(path) for path in sorted((place / "killed").glob("*.parquet")))
    _run(folder, place / "expected.parquet", count, "--local")
    equal = bool(found.equals(pq.read_table(place / "expected.parquet")))
    return Killed(after, seconds, undisturbed, len(found), equal)


def write_table(runs: dict[str, list[Run]], killed: Killed, count: int, facts: dict[str, str]) -> str:
    """The page: a row for each, and what became of the job whose node was killed."""
    rounds = len(next(iter(runs.values())))
    lines = [
        "# The batch client on Ray",
        "",
        f"`.venv-ray/bin/python -m benchmarks.ray`: {count:,} MNIST digits as PNG files in folders → Parquet, "
        f"{rounds} rounds in turns; images a second, medians (least–most). *Whole* is from the start of the command's "
        "process to its end, the cluster being there; *told* is what the command says itself, which leaves out the "
        "start of Python and the connection to Ray. The cluster has a node a CPU and a "
        "head that does no work, and all of it shares the CPUs with the command.",
        "",
        "| | whole | told | whole, beside --local |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, found in runs.items():
        local = runs[name.replace(_RAY, _LOCAL)]
        ratio = spread(mine.whole / theirs.whole for mine, theirs in zip(found, local, strict=True))
        cells = spread(run.whole for run in found), spread(run.told for run in found)
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio if _RAY in name else ''} |")
    said = "the same as" if killed.equal else "NOT the same as"
    lines += [
        "",
        "## A node killed",
        "",
        f"On two nodes, one was killed by SIGKILL with all of its processes after {killed.after:.1f} s. The job ended "
        f"after {killed.seconds:.1f} s, beside {killed.undisturbed:.1f} s undisturbed in the median, on the node that "
        f"was left. Its {killed.rows:,} rows are {said} those of `--local`, in the same order and to the last bit.",
        "",
        *(f"- {name}: {text}" for name, text in facts.items()),
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes ray.json and ray.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--count", type=int, default=70_000, help="pictures (default: 70000)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder = place / "pictures"
        folder.mkdir()
        write_pictures(folder, options.count)
        runs = measure(folder, place, options.rounds, options.count)
        undisturbed = options.count / spread(run.whole for run in runs[f"{_RAY}, {_TWO}"]).median
        killed = kill(folder, place, options.count, undisturbed)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    facts = {"date": today, **describe_machine(), **describe_packages(), "ray": version("ray")}
    content = {
        "facts": facts,
        "runs": {name: [asdict(run) for run in found] for name, found in runs.items()},
        "killed": asdict(killed),
    }
    (options.out / "ray.json").write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "ray.md").write_text(write_table(runs, killed, options.count, facts))
    if not killed.equal:
        raise BenchmarkError("the rows of the job whose node was killed are not those of --local")


if __name__ == "__main__":
    main()
