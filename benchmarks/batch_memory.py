"""`python -m benchmarks.batch_memory`: the most memory that the batch client has, over few inputs and over many.

Digits of one NPY file, PNG files in folders of a thousand, and a TAR archive of PNG files; of a service, and without
one. Files are hard links to a thousand digits, so that a million take the room of names alone. Memory is no speed: this
may be run beside other work.
"""

import argparse
import datetime as dt
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.cpus import choose_cpus
from benchmarks.digits import ROOT, digits, png
from benchmarks.figures import short
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.peak import peak_memory
from benchmarks.plan import service_server
from benchmarks.server import run_server, wait_for_answer

_FOLDER = 1000  # pictures, and as many digits


@dataclass(frozen=True)
class Peaks:
    """The most memory, in MB, of runs over few and over many inputs."""

    title: str
    few: float
    many: float


def write_array(folder: Path, count: int) -> Path:
    """An NPY file of so many digits."""
    path = folder / "digits.npy"
    np.save(path, np.resize(digits(10_000), (count, 28, 28)))
    return path


def write_folders(folder: Path, count: int) -> Path:
    """So many PNG files, in folders of a thousand each."""
    originals = folder / "0000"
    for number in range(count):
        place = folder / f"{number // _FOLDER:04}"
        path = place / f"{number % _FOLDER:03}.png"
        place.mkdir(exist_ok=True)
        if place == originals:
            path.write_bytes(png(digits(_FOLDER)[number]))
        else:
            os.link(originals / path.name, path)
    return folder


def write_archive(folder: Path, count: int) -> Path:
    """A TAR archive of so many PNG files."""
    path = folder / "digits.tar"
    with tempfile.TemporaryDirectory() as place, tarfile.open(path, "w") as archive:
        originals = sorted(write_folders(Path(place), _FOLDER).rglob("*.png"))
        for number in range(count):
            # Each as a file of its own: a hard link of TAR would be no file, but a name for another.
            with originals[number % _FOLDER].open("rb") as file:
                member = tarfile.TarInfo(f"{number:07}.png")
                member.size = os.fstat(file.fileno()).st_size
                archive.addfile(member, file)
    return path


def measure(few: int, many: int) -> list[Peaks]:
    """The memory over each kind of input, of a service in two workers and without one."""
    server = service_server("digitscope", "digitscope, 2 workers", choose_cpus().both, workers=2)
    with run_server(server) as running:
        wait_for_answer(running, form("raw"))
        service = ("--url", f"http://127.0.0.1:{running.port}")
        runs: list[tuple[str, Callable[[Path, int], Path], Sequence[str]]] = [
            ("an NPY file, of a service", write_array, service),
            ("an NPY file, --local", write_array, ("--local",)),
            ("PNG files in folders, of a service", write_folders, service),
            ("a TAR archive of PNG files, --local", write_archive, ("--local",)),
        ]
        return [Peaks(title, *(_peak(write, size, flags) for size in (few, many))) for title, write, flags in runs]


def _peak(write: Callable[[Path, int], Path], size: int, flags: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory() as inputs, tempfile.TemporaryDirectory() as out:
        return peak_memory([str(write(Path(inputs), size)), "--output", f"{out}/digits.parquet", *flags])


def write_table(peaks: list[Peaks], few: int, many: int, facts: dict[str, str]) -> str:
    """The page: a row for each kind of input."""
    lines = [
        "# The batch client's memory",
        "",
        f"`python -m benchmarks.batch_memory`: the most memory of the client's process (VmHWM), over {few:,} and over "
        f"{many:,} MNIST digits, written to Parquet. Those of `--local`'s workers hold one model each and no rows.",
        "",
        f"| | MB, {few:,} | MB, {many:,} | ratio |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {each.title} | {short(each.few)} | {short(each.many)} | {each.many / each.few:.3f} |" for each in peaks),
        "",
        "A ZIP archive's list of names is held whole, as its directory stands at its end, and so are the names of one "
        "flat folder, which are put in order: 640 and 74 bytes a name of eleven letters.",
        "",
        *(f"- {name}: {text}" for name, text in facts.items()),
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes batch_memory.json and batch_memory.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_memory", description=__doc__)
    parser.add_argument("--few", type=int, default=10_000, help="inputs of the smaller run (default: 10000)")
    parser.add_argument("--many", type=int, default=1_000_000, help="inputs of the larger run (default: 1000000)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    peaks = measure(options.few, options.many)
    facts = {"date": dt.datetime.now(dt.UTC).date().isoformat(), **describe_machine(), **describe_packages()}
    content = {"facts": facts, "few": options.few, "many": options.many, "peaks_mb": [asdict(each) for each in peaks]}
    (options.out / "batch_memory.json").write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "batch_memory.md").write_text(write_table(peaks, options.few, options.many, facts))


if __name__ == "__main__":
    main()
