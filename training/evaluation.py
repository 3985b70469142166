"""How well a released model reads a set of digits, by the engine that will serve it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Engine
from training.data import Digits

_BATCH = 500  # images a run


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model to labelled digits: probabilities float64 (n, 10) beside the digits themselves."""

    name: str  # of the set, such as "validation"
    digits: Digits
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
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        chosen = self.probabilities[np.arange(len(self.digits)), self.digits.labels]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())

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
        return {f"{self.name}_accuracy": self.accuracy, f"{self.name}_loss": self.loss}


def evaluate_model(engine: Engine, name: str, digits: Digits) -> Evaluation:
    """Asks the engine about every digit of a set."""
    starts = range(0, len(digits), _BATCH)
    parts = [engine.predict(digits.images[start : start + _BATCH])[1] for start in starts]
    return Evaluation(name, digits, np.concatenate(parts).astype(np.float64))
