"""`python -m benchmarks.profile`: a flame graph of the service, native frames included, under 64 connections."""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.cpus import choose_cpus
from benchmarks.digits import ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.form import FORMS, form
from benchmarks.places import without_places
from benchmarks.plan import service_server
from benchmarks.server import run_server, wait_for_answer
from benchmarks.wrk import run_wrk

_RATE = 250  # samples a second; with native frames each one holds the service still for a moment


def record(form_name: str, seconds: int, path: Path) -> None:
    """Records one form of request for some seconds.

    Raises:
        BenchmarkError: py-spy is missing or fails, or the load has an error.
    """
    cpus, asked = choose_cpus(), form(form_name)
    with run_server(service_server("digitscope", "digitscope", cpus.server)) as running:
        wait_for_answer(running, asked)
        run_wrk(running.port, asked, connections=64, seconds=1, cpu=cpus.generator)  # warms
        with ThreadPoolExecutor() as pool:
            load = pool.submit(run_wrk, running.port, asked, connections=64, seconds=seconds + 2, cpu=cpus.generator)
            _spy(running.session, seconds, path)
            load.result()


def _spy(process: int, seconds: int, path: Path) -> None:
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "flamegraph", "--native"]
    # Every process of the service: with several workers, it is not the first that answers.
    command += ["--subprocesses", "--rate", str(_RATE), "--duration", str(seconds), "--output", str(path)]
    try:
        told = subprocess.run([*command, "--pid", str(process)], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BenchmarkError("py-spy is missing: make setup installs it") from error
    if told.returncode:
        raise BenchmarkError(f"py-spy failed: {told.stderr.strip()[-300:]}")
    path.write_text(without_places(path.read_text()).replace(str(path), path.name))  # its title has the command


def main() -> int:
    """Records; returns 0, or 1 with one sentence that says why not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--form", choices=FORMS, default="raw")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "profile.svg")
    options = parser.parse_args()
    try:
        record(options.form, options.seconds, options.out)
    except BenchmarkError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
