"""`python -m benchmarks.batch`: the batch client beside what one would write without it.

MNIST's digits lie as PNG files in folders of a thousand. They are asked for by the batch client, by a loop of
`requests` one after the other, and by tritonclient's asynchronous calls, in turns, of one service in two workers that
shares the CPUs with whoever asks.
"""

import argparse
import datetime as dt
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cpus import choose_cpus
from benchmarks.digits import ROOT, digits, png
from benchmarks.errors import BenchmarkError
from benchmarks.figures import spread
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.plan import service_server
from benchmarks.server import run_server, wait_for_answer

_TRITON = ROOT / ".venv-clients" / "triton" / "bin" / "python"
_FOLDER = 1000  # pictures
_MOST_ONE_BY_ONE = 5000  # pictures of those who ask one a request: more would tell nothing new
BATCH, PREPARED, LOOP, TRITON_ONE, TRITON_MANY = (
    "digitscope-batch",
    "digitscope-batch --preprocess none",
    "requests, one after the other",
    "tritonclient, asyncio, 1 a request",
    "tritonclient, asyncio, 256 a request",
)


def write_pictures(folder: Path, count: int) -> None:
    """MNIST's digits as PNG files, the training digits last, which are in the folder that MNIST_DIR names.

    Raises:
        BenchmarkError: there are not so many.
    """
    found: list[NDArray[np.uint8]] = [digits(10_000)]
    training = Path(os.environ.get("MNIST_DIR", "")) / "train-images-idx3-ubyte.gz"
    if count > 10_000:
        if not training.is_file():
            raise BenchmarkError("more than 10,000 pictures need MNIST's training digits, in the folder MNIST_DIR")
        found.append(np.frombuffer(gzip.decompress(training.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28))
    for number, digit in enumerate(np.concatenate(found)[:count]):
        place = folder / f"{number // _FOLDER:02}"
        place.mkdir(exist_ok=True)
        (place / f"{number:05}.png").write_bytes(png(digit))


def contenders(folder: Path, port: int, count: int) -> dict[str, Callable[[], float]]:
    """What gives the images a second of each who asks."""
    url = f"http://127.0.0.1:{port}"
    fewer = str(min(count, _MOST_ONE_BY_ONE))
    python = (sys.executable, "-m")
    triton = (str(_TRITON), "-m", "benchmarks.triton_loop", str(folder), "--address", f"127.0.0.1:{port}")
    found = {
        BATCH: lambda: _batch(folder, url, count),
        PREPARED: lambda: _batch(folder, url, count, "--preprocess", "none"),
        LOOP: lambda: _script((*python, "benchmarks.requests_loop", str(folder), "--url", url, "--count", fewer)),
    }
    if _TRITON.exists():
        found[TRITON_ONE] = lambda: _script((*triton, "--count", fewer))
        found[TRITON_MANY] = lambda: _script((*triton, "--count", str(count), "--batch", "256"))
    return found


def _batch(folder: Path, url: str, count: int, *flags: str) -> float:
    """From the start of the process to its end, the whole table being written."""
    with tempfile.TemporaryDirectory() as out:
        command = (sys.executable, "-m", "client", str(folder), "--url", url, "--output", f"{out}/x.parquet", *flags)
        began = time.perf_counter()
        told = _run(command)
        seconds = time.perf_counter() - began
    if not told.startswith(f"{count:,} inputs in"):
        raise BenchmarkError(f"the batch client did not have {count:,} inputs: {told}")
    return count / seconds


def _script(command: Sequence[str]) -> float:
    """As the script itself measures, its start left out."""
    told = json.loads(_run(command))
    return float(told["images"] / told["seconds"])


def _run(command: Sequence[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchmarkError(f"{command[2]} ended with status {ran.returncode}: {ran.stderr[-500:]}")
    return ran.stdout


def measure(rounds: int, count: int) -> dict[str, list[float]]:
    """Images a second of each who asks, round by round, who goes first changing."""
    rates: dict[str, list[float]] = {}
    server = service_server("digitscope", "digitscope, 2 workers", choose_cpus().both, workers=2)
    with tempfile.TemporaryDirectory() as place, run_server(server) as running:
        folder = Path(place)
        write_pictures(folder, count)
        wait_for_answer(running, form("raw"))
        asking = list(contenders(folder, running.port, count).items())
        for number in range(rounds):
            first = number % len(asking)
            for name, ask in (*asking[first:], *asking[:first]):
                rates.setdefault(name, []).append(ask())
    return rates


def write_table(rates: dict[str, list[float]], count: int, facts: dict[str, str]) -> str:
    """The page: a row for each who asks, with its ratio to the batch client taken round by round."""
    lines = [
        "# The batch client",
        "",
        f"`python -m benchmarks.batch`: {count:,} MNIST digits as PNG files in folders, asked of one service in two "
        f"workers on the same two CPUs, {len(rates[BATCH])} rounds in turns; medians (least–most). The batch client is "
        "timed from the start of its process to its end with the Parquet file written, the others without their start "
        f"and without a file; those who ask one picture a request have the first {min(count, _MOST_ONE_BY_ONE):,}. "
        "tritonclient sends pixels and not pictures, and so does without the service's preparation of pictures, as "
        "`--preprocess none` does.",
        "",
        "| | images a second | times as many by digitscope-batch |",
        "| --- | ---: | ---: |",
    ]
    for name, found in rates.items():
        ratio = spread(mine / theirs for mine, theirs in zip(rates[BATCH], found, strict=True))
        lines.append(f"| {name} | {spread(found)} | {'' if name == BATCH else ratio} |")
    if TRITON_ONE not in rates:
        lines += ["", "tritonclient is not installed here: `.ci/run` makes its environment."]
    lines += ["", *(f"- {name}: {text}" for name, text in facts.items()), ""]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes batch.json and batch.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--count", type=int, default=70_000, help="pictures (default: 70000)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    rates = measure(options.rounds, options.count)
    facts = {"date": dt.datetime.now(dt.UTC).date().isoformat(), **describe_machine(), **describe_packages()}
    content = {"facts": facts, "images_a_second": rates}
    (options.out / "batch.json").write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "batch.md").write_text(write_table(rates, options.count, facts))


if __name__ == "__main__":
    main()
