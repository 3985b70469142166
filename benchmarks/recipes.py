"""`python -m benchmarks.recipes`: the seconds to a validation accuracy, by the fast recipe and by that of tutorials.

Both train the same network on the same digits of the same machine, in turns. The time is that of the training steps:
what judges an epoch is not counted, for neither.
"""

import argparse
import dataclasses
import datetime as dt
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.digits import ROOT
from benchmarks.figures import spread
from benchmarks.machine import describe_machine
from training.data import Digits, Mnist, split
from training.fit import JOURNAL_FILE, evaluate, fit
from training.journal import read_journal
from training.model import DigitNet, as_input
from training.recipe import RECIPES

AIM = 0.994  # of the validation digits
_PLAIN_EPOCHS = 12
_PLAIN_BATCH = 64
_PLAIN_RATE = 1e-3
_TITLES = {
    "fast": "`--recipe fast`",
    "plain": f"plain: Adam at {_PLAIN_RATE:g} throughout, batches of {_PLAIN_BATCH}, no distortion",
}


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch: seconds of training so far, and the validation accuracy from 0 to 1."""

    seconds: float
    accuracy: float


@dataclass(frozen=True)
class Run:
    """One training run from its start to its end."""

    recipe: str
    seed: int
    epochs: list[Epoch]

    def reached(self, accuracy: float) -> float | None:
        """The seconds of training after which an epoch ended with that accuracy; None if none did."""
        return next((epoch.seconds for epoch in self.epochs if epoch.accuracy >= accuracy), None)


def train_fast(training: Digits, validation: Digits, seed: int) -> list[Epoch]:
    """The fast recipe, through the very function that `python -m training` calls."""
    configuration = dataclasses.replace(RECIPES["fast"], seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        fit(training, validation, configuration, Path(folder), torch.device("cpu"))
        return epochs_of(read_journal(Path(folder) / JOURNAL_FILE))


def epochs_of(journal: Sequence[dict[str, float]]) -> list[Epoch]:
    """The epochs of a run's journal, whose steps tell their seconds."""
    found, seconds = [], 0.0
    for line in journal:
        seconds += line.get("seconds", 0.0)
        if "epoch" in line:
            found.append(Epoch(seconds, line["accuracy"]))
    return found


def train_plain(training: Digits, validation: Digits, seed: int, epochs: int = _PLAIN_EPOCHS) -> list[Epoch]:
    """What most tutorials do."""
    torch.manual_seed(seed)
    network = DigitNet(float(training.images.mean()), float(training.images.std()))
    optimizer = torch.optim.Adam(network.parameters(), _PLAIN_RATE)
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels).long()
    found, seconds = [], 0.0
    for _ in range(epochs):
        network.train()
        started = time.perf_counter()
        for places in torch.split(torch.randperm(len(images)), _PLAIN_BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(as_input(images[places], network)), labels[places])
            torch.autograd.backward(loss)
            optimizer.step()
        seconds += time.perf_counter() - started
        found.append(Epoch(seconds, evaluate(network, validation)["accuracy"]))
    return found


_TRAIN: dict[str, Callable[[Digits, Digits, int], list[Epoch]]] = {"fast": train_fast, "plain": train_plain}


def write_table(runs: Sequence[Run], facts: dict[str, str]) -> str:
    """The page: a row for each run, and the medians."""
    lines = [
        "# Seconds to 99.4 % on validation",
        "",
        "Written by `python -m benchmarks.recipes`; every epoch is in [recipes.json](recipes.json). Both recipes train "
        "the same network on the same 55,000 digits, in turns; each seed draws its own 5,000 validation digits. "
        "Seconds are those of the training steps.",
        "",
        *[f"- {name}: {value}" for name, value in facts.items()],
        "",
        "| recipe | seed | epochs | seconds in all | seconds to 99.4 % | best epoch | last epoch |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in sorted(runs, key=lambda run: run.recipe):
        reached = run.reached(AIM)
        best = max(epoch.accuracy for epoch in run.epochs)
        lines.append(
            f"| {_TITLES[run.recipe]} | {run.seed} | {len(run.epochs)} | {run.epochs[-1].seconds:.0f} | "
            f"{'not reached' if reached is None else f'{reached:.0f}'} | {best:.2%} | {run.epochs[-1].accuracy:.2%} |"
        )
    lines.append("")
    for recipe, title in _TITLES.items():
        own = [run for run in runs if run.recipe == recipe]
        times = [seconds for run in own if (seconds := run.reached(AIM)) is not None]
        taking = f", in {spread(times)} s" if times else ""
        lines.append(f"- {title}: reached by {len(times)} of {len(own)} runs{taking}")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Trains by both recipes, seed by seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    mnist = Mnist().training()
    runs: list[Run] = []
    for seed in range(options.seeds):
        training, validation = split(mnist, seed, RECIPES["fast"].validation)
        for recipe in list(_TRAIN)[:: -1 if seed % 2 else 1]:  # what drifts favours neither
            runs.append(Run(recipe, seed, _TRAIN[recipe](training, validation, seed)))
            print(f"{recipe}, seed {seed}: {runs[-1].epochs[-1]}", flush=True)
    facts = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        **describe_machine(),
        "torch": f"{version('torch')}, {torch.get_num_threads()} threads",
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "recipes.json").write_text(
        json.dumps({"facts": facts, "runs": [asdict(run) for run in runs]}, indent=1) + "\n"
    )
    (options.out / "recipes.md").write_text(write_table(runs, facts))


if __name__ == "__main__":
    main()
