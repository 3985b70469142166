"""`python -m benchmarks.record`: what each part of the record recipe brings on validation, and what its seeds reach.

Every row is a short run of the same network on the same 55,000 digits, judged by the same 5,000. A run has a folder of
its own under `--runs`, where it goes on after an interruption and where its result stays: so several processes may
share the work, and the page is written of all results that are there. With `--final` the five seeds of the whole
recipe are trained, and then the test set is read, once.
"""

import argparse
import dataclasses
import datetime as dt
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.digits import ROOT, model_folder
from benchmarks.machine import describe_machine
from service.manifest import load_manifest
from training.configuration import Configuration, Teaching
from training.data import Digits, Mnist, split
from training.fit import JOURNAL_FILE, evaluate, fit
from training.journal import read_journal
from training.model import DigitNet, predict
from training.recipe import RECIPES, SEEDS
from training.report import MISLABELLED
from training.teach import teach

RECORD = RECIPES["record"]
_CPU = torch.device("cpu")
_FIRST = "alone"  # what the other rows are set beside
_EPOCHS = 6  # of every row
_AIM, _LEAST = 0.997, 0.9965  # of the test digits, in the mean of the seeds and by each of them
_TEACHING = RECORD.teaching or Teaching()
_ALONE = dataclasses.replace(RECORD, epochs=_EPOCHS, teaching=None)


def _taught(**changes: Any) -> Configuration:
    return dataclasses.replace(_ALONE, teaching=dataclasses.replace(_TEACHING, **changes))


ROWS: Mapping[str, tuple[str, Configuration]] = {
    "alone": ("labels alone", _ALONE),
    "mild": (
        "labels alone, the fast recipe's distortions",
        dataclasses.replace(_ALONE, distortion=RECIPES["fast"].distortion),
    ),
    "unaveraged": ("labels alone, no moving average", dataclasses.replace(_ALONE, averaging=0.0)),
    "smoothed": ("labels alone, smoothed by 0.1", dataclasses.replace(_ALONE, label_smoothing=0.1)),
    "dropped": ("labels alone, dropout 0.5", dataclasses.replace(_ALONE, dropout=0.5)),
    "taught": ("teachers, at temperature 1", _taught(softness=1.0)),
    "soft": ("teachers, at temperature 3", _taught(softness=3.0)),
}
"""What is compared: titles and configurations by name."""


@dataclass(frozen=True)
class Result:
    """How the network of a run reads a set of digits.

    Attributes:
        misread: places of the digits in their set.
        loss: mean cross-entropy in nats.
        seconds: that the run took of one CPU, without its teachers.
        elapsed: seconds that it took by the clock.
    """

    misread: list[int]
    loss: float
    seconds: float = 0.0
    elapsed: float = 0.0


def measure(configuration: Configuration, mnist: Mnist, runs: Path) -> None:
    """Trains a configuration and keeps how it reads its validation digits, unless that is known already."""
    path = _kept(configuration, runs)
    if path.exists():
        return
    training, validation = split(mnist.training(), configuration.split_seed, configuration.validation)
    lessons = teach(training, validation, configuration, runs, _CPU)
    cpu, clock = time.process_time(), time.perf_counter()
    network = fit(training, validation, configuration, path.parent, _CPU, lessons)
    seconds, elapsed = time.process_time() - cpu, time.perf_counter() - clock
    path.write_text(
        json.dumps(asdict(dataclasses.replace(judge(network, validation), seconds=seconds, elapsed=elapsed)))
    )


def judge(network: DigitNet, digits: Digits) -> Result:
    """How a network reads digits."""
    read = predict(network, torch.from_numpy(digits.images)).argmax(1).numpy()
    return Result(np.flatnonzero(read != digits.labels).tolist(), evaluate(network, digits)["loss"])


def ended(configuration: Configuration, seeds: Iterable[int], runs: Path) -> dict[int, Result]:
    """The results of a configuration's runs that have ended, by seed."""
    paths = {seed: _kept(dataclasses.replace(configuration, seed=seed), runs) for seed in seeds}
    return {seed: Result(**json.loads(path.read_text())) for seed, path in paths.items() if path.exists()}


def _kept(configuration: Configuration, runs: Path) -> Path:
    return runs / hashlib.sha256(configuration.to_json().encode()).hexdigest()[:12] / "result.json"


def read_test(mnist: Mnist, runs: Path) -> dict[int, Result]:
    """How the five seeds, which have ended, read the test set; it is read only where that is not known yet.

    All are judged at once, so that none can be left out for what it reads.
    """
    path = runs / "test.json"
    if not path.exists():
        results, digits = {}, mnist.test()
        digits = digits.take(np.arange(len(digits)))  # a copy, since PyTorch warns of arrays that are read-only
        for seed in SEEDS:
            configuration = dataclasses.replace(RECORD, seed=seed)
            training, validation = split(mnist.training(), configuration.split_seed, configuration.validation)
            lessons = teach(training, validation, configuration, runs, _CPU)
            network = fit(training, validation, configuration, _kept(configuration, runs).parent, _CPU, lessons)
            results[seed] = asdict(judge(network, digits))
        path.write_text(json.dumps(results))
    return {int(seed): Result(**result) for seed, result in json.loads(path.read_text()).items()}


def teaching_seconds(runs: Path) -> float:
    """What the steps of all teachers took, by the clock."""
    journals = [read_journal(path) for path in runs.glob(f"teacher-*/{JOURNAL_FILE}")]
    return sum(float(line.get("seconds", 0)) for journal in journals for line in journal)


def fewer(one: Iterable[Result], other: Iterable[Result], digits: int) -> tuple[float, float, float]:
    """How many digits fewer a row misreads than another one, in the mean of its seeds, and the 95 % interval of that.

    The interval is the bootstrap's over the digits, which both rows share: what it tells is whether other digits would
    have said the same.
    """
    saved = _misreadings(other, digits) - _misreadings(one, digits)
    drawn = np.random.default_rng(0).integers(digits, size=(2000, digits))
    low, high = np.quantile(saved[drawn].sum(axis=1), (0.025, 0.975))
    return float(saved.sum()), float(low), float(high)


def _misreadings(results: Iterable[Result], digits: int) -> NDArray[np.float64]:
    """How often each digit is misread, in the mean of the results."""
    counts = [np.bincount(result.misread, minlength=digits) for result in results]
    return np.asarray(np.mean(counts, axis=0), np.float64)


def write_page(
    facts: Mapping[str, str],
    rows: Mapping[str, Mapping[int, Result]],
    seeds: Mapping[int, Result],
    tested: Mapping[int, Result],
    shipped: Sequence[float],
) -> str:
    """The page: the five seeds, and a row for each part; `tested` is empty as long as the test set is unread.

    `shipped` are the test accuracies of the seeds of the model that ships.
    """
    lines = [
        "# The record recipe",
        "",
        "Written by `python -m benchmarks.record`; all figures are in [record.json](record.json). `--recipe record` "
        f"trains the network that is served, with the same graph, for {RECORD.epochs} epochs. Everything was chosen by "
        f"the {RECORD.validation:,} validation digits of split {RECORD.split}, which no network was trained on.",
        "",
        *[f"- {name}: {value}" for name, value in facts.items()],
        "",
        "## Five seeds",
        "",
        *(_seeds(seeds, tested, shipped) if seeds else ["Not trained yet.", ""]),
        "## What each part brings",
        "",
        f"Runs of {_EPOCHS} epochs instead of {RECORD.epochs}, else as the recipe but for what the row says. Misread "
        "are validation digits; accuracy "
        "and cross-entropy are mean and standard deviation over seeds. The last column "
        f"sets the row beside `{ROWS[_FIRST][0]}`: digits fewer misread, with the bootstrap's 95 % interval over the "
        "digits; where it holds 0, other digits might have said the opposite.",
        "",
        "| row | misread, by seed | accuracy | cross-entropy (nats) | fewer misread |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, results in rows.items():
        if not results:
            continue
        counts = [len(result.misread) for result in results.values()]
        gain = ""
        if name != _FIRST and rows[_FIRST]:
            saved, low, high = fewer(results.values(), rows[_FIRST].values(), RECORD.validation)
            gain = f"{saved:+.1f} ({low:+.1f} to {high:+.1f})"
        lines.append(
            f"| {ROWS[name][0]} | {', '.join(map(str, counts))} | "
            f"{_about([1 - count / RECORD.validation for count in counts], '.2%')} | "
            f"{_about([result.loss for result in results.values()], '.4f')} | {gain} |"
        )
    return "\n".join(lines) + "\n"


def _seeds(seeds: Mapping[int, Result], tested: Mapping[int, Result], shipped: Sequence[float]) -> list[str]:
    lines = [
        "| seed | misread, validation | misread, test | accuracy, test | in doubt | cross-entropy, test (nats) | "
        "seconds of one CPU | by the clock |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for seed, result in seeds.items():
        cells = [str(seed), str(len(result.misread)), "", "", "", ""]
        if seed in tested:
            test = tested[seed]
            doubt = len(set(test.misread) & set(MISLABELLED))
            cells[2:] = [
                str(len(test.misread)),
                f"{1 - len(test.misread) / 10_000:.2%}",
                str(doubt),
                f"{test.loss:.4f}",
            ]
        lines.append(f"| {' | '.join(cells)} | {result.seconds:,.0f} | {result.elapsed:,.0f} |")
    lines.append("")
    if tested:
        accuracies = [1 - len(test.misread) / 10_000 for test in tested.values()]
        lines += [
            f"Test accuracy: mean {mean(accuracies):.3%}, standard deviation {stdev(accuracies):.3%}, from "
            f"{min(accuracies):.2%} to {max(accuracies):.2%}. The test set was read once, when all seeds were trained. "
            f"In doubt are misread digits among the {len(MISLABELLED)} whose label fewer than three of five people "
            "found right, of which the model card tells.",
            "",
            f"The aim, a mean of {_AIM:.2%} with no seed below {_LEAST:.2%}, "
            + ("is reached. " if mean(accuracies) >= _AIM and min(accuracies) >= _LEAST else "is not reached. ")
            + f"The seeds of the model that ships have a mean of {mean(shipped):.3%} ({min(shipped):.2%} to "
            f"{max(shipped):.2%}), each with a split of its own.",
            "",
        ]
    return lines


def _about(values: Sequence[float], form: str) -> str:
    """Mean and standard deviation, the latter where there is one."""
    return f"{mean(values):{form}}" + (f" ± {stdev(values):{form}}" if len(values) > 1 else "")


def main(arguments: list[str] | None = None) -> None:
    """Trains what is asked for and writes the page of all that is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS), help="to train (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the rows (default: 0 1 2)")
    parser.add_argument("--record", type=int, nargs="*", default=[], help="seeds to train by the whole recipe")
    parser.add_argument("--final", action="store_true", help="train all five seeds and read the test set")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default: runs)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    mnist = Mnist()
    wanted = [dataclasses.replace(ROWS[name][1], seed=seed) for seed in options.seeds for name in options.rows]
    wanted += [dataclasses.replace(RECORD, seed=seed) for seed in (SEEDS if options.final else options.record)]
    for configuration in wanted:
        measure(configuration, mnist, options.runs)
    rows = {name: ended(configuration, range(100), options.runs) for name, (_, configuration) in ROWS.items()}
    seeds = ended(RECORD, SEEDS, options.runs)
    tested = read_test(mnist, options.runs) if options.final else {}
    figures = load_manifest(model_folder()).metrics.values()
    shipped = [values["test_accuracy"] for values in figures]
    facts = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        **describe_machine(),
        "torch": f"{version('torch')}, {torch.get_num_threads()} thread(s)",
        "teachers": f"{_TEACHING.teachers}, trained once for all seeds, in {teaching_seconds(options.runs):,.0f} s of "
        "steps by the clock",
    }
    options.out.mkdir(parents=True, exist_ok=True)
    document = {
        "facts": facts,
        "configuration": asdict(RECORD),
        "rows": {name: {seed: asdict(result) for seed, result in results.items()} for name, results in rows.items()},
        "seeds": {seed: asdict(result) for seed, result in seeds.items()},
        "test": {seed: asdict(result) for seed, result in tested.items()},
    }
    (options.out / "record.json").write_text(json.dumps(document) + "\n")
    (options.out / "record.md").write_text(write_page(facts, rows, seeds, tested, shipped))


if __name__ == "__main__":
    main()
