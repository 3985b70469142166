"""How well a released model reads a set of digits, by the engine that will serve it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Engine
from training.data import Digits, Images

_BATCH = 500  # images a run


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model to labelled digits: logits and probabilities, float64 (n, 10), beside the digits."""

    name: str  # of the set, such as "validation"
    digits: Digits
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    @property
    def predictions(self) -> NDArray[np.intp]:
        """The digit read in each image, (n,)."""
        read: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return read

    @property
    def accuracy(self) -> float:
        """The fraction of images read right."""
        return float((self.predictions == self.digits.labels).mean())

    @property
    def losses(self) -> NDArray[np.float64]:
        """The cross-entropy of each image in nats, (n,)."""
        chosen = self.probabilities[np.arange(len(self.digits)), self.digits.labels]
        losses: NDArray[np.float64] = -np.log(np.maximum(chosen, np.finfo(np.float32).tiny))
        return losses

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(self.losses.mean())

    @property
    def brier(self) -> NDArray[np.float64]:
        """The squared error of each image's probabilities, summed over the ten digits, from 0 to 2, (n,).

        G. W. Brier, "Verification of forecasts expressed in terms of probability" (Monthly Weather Review, 1950).
        """
        errors: NDArray[np.float64] = ((self.probabilities - np.eye(10)[self.digits.labels]) ** 2).sum(axis=1)
        return errors

    @property
    def confusion(self) -> NDArray[np.intp]:
        """Images counted by (label, digit read), (10, 10)."""
        counts = np.zeros((10, 10), np.intp)
        np.add.at(counts, (self.digits.labels, self.predictions), 1)
        return counts

    @property
    def misread(self) -> NDArray[np.intp]:
        """The places of the images read wrong, in order."""
        return np.flatnonzero(self.predictions != self.digits.labels)

    def metrics(self) -> dict[str, float]:
        """The figures for the manifest, by name."""
        return {
            f"{self.name}_accuracy": self.accuracy,
            f"{self.name}_loss": self.loss,
            f"{self.name}_brier": float(self.brier.mean()),
        }


def answers(engine: Engine, images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The engine's logits and probabilities for images uint8 (n, 1, 28, 28), (n, 10) each."""
    parts = [engine.predict(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    logits, probabilities = (np.concatenate(kind).astype(np.float64) for kind in zip(*parts, strict=True))
    return logits, probabilities


def evaluate_model(engine: Engine, name: str, digits: Digits) -> Evaluation:
    """Asks the engine about every digit of a set."""
    return Evaluation(name, digits, *answers(engine, digits.images))


def interval(values: NDArray[np.float64], draws: int = 1_000) -> tuple[float, float]:
    """The bootstrap's 95 % interval of a mean: of values (n,), drawn with replacement so many times.

    B. Efron, "Bootstrap methods: another look at the jackknife" (Annals of Statistics, 1979).
    """
    generator = np.random.default_rng(0)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(draws)]
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return low, high
