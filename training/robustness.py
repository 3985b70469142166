"""The sets beside the clean one that choices are judged by, all made from validation digits alone.

The same seeds give the same sets, so that models are compared on the very same pictures.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from service.engine import Engine
from service.rejection import evidence
from training.augment import Distortion, distort
from training.corruption import CORRUPTIONS
from training.data import Digits, Images
from training.evaluation import answers, evaluate_model
from training.mixture import corrupted, non_digit
from training.nondigit import NON_DIGITS, Sampler

REDRAWN = Distortion(rotation=22, scale=0.25, shear=0.25, shift=2, elastic=0.6, stroke=0.9)
"""What hands and pens do to a digit at most, and rather more than in MNIST."""

_EACH = 1_000  # pictures of a kind
_SEED = 20261124


@dataclass(frozen=True)
class Robustness:
    """How well a model reads what is not clean, and tells what is no digit.

    Attributes:
        redrawn: accuracy on digits redrawn with other strokes, slants, sizes and places.
        corrupted: accuracy by kind of corruption.
        non_digits: by sort of non-digit, the area under the ROC curve of the evidence: how often a clean digit has more
            of it than such a picture.
    """

    redrawn: float
    corrupted: dict[str, float]
    non_digits: dict[str, float]

    def metrics(self) -> dict[str, float]:
        """The figures for the manifest, by name."""
        return {
            "redrawn_accuracy": self.redrawn,
            "corrupted_accuracy": float(np.mean(list(self.corrupted.values()))),
            "non_digits_auc": float(np.mean(list(self.non_digits.values()))),
        }


def redrawn(digits: Digits) -> Digits:
    """Each digit redrawn once."""
    images = torch.from_numpy(digits.images).float()
    changed = distort(images, REDRAWN, torch.Generator().manual_seed(_SEED))
    return Digits(changed.round().to(torch.uint8).numpy(), digits.labels)


def corrupted_digits(digits: Digits, kind: str) -> Digits:
    """Up to 1,000 of the digits, corrupted in one way, as the intake gives them to the network."""
    some = digits.take(slice(_EACH))
    key = list(CORRUPTIONS).index(kind)
    images = [
        corrupted(image[0], kind, np.random.default_rng([_SEED, key, number]))
        for number, image in enumerate(some.images)
    ]
    return Digits(np.stack(images)[:, None], some.labels)


def non_digits(digits: Digits, kind: str) -> Images:
    """Up to 1,000 pictures of one sort that show no digit, uint8 (n, 1, 28, 28), as the network gets them."""
    sampler, key = Sampler(digits), 100 + list(NON_DIGITS).index(kind)
    generators = (np.random.default_rng([_SEED, key, number]) for number in range(min(_EACH, len(digits))))
    return np.stack([non_digit(sampler, kind, generator) for generator in generators])[:, None]


def roc_area(more: NDArray[np.float64], less: NDArray[np.float64]) -> float:
    """How often a value of `more` is above one of `less`, ties counted half: the area under the ROC curve."""
    ordered = np.sort(less)
    below, up_to = np.searchsorted(ordered, more, "left"), np.searchsorted(ordered, more, "right")
    return float((below + up_to).mean() / 2 / len(less))


def judge(engine: Engine, digits: Digits, temperature: float) -> Robustness:
    """Asks a model about the sets that are made of these digits."""
    clean = evidence(answers(engine, digits.images)[0], temperature)
    return Robustness(
        redrawn=evaluate_model(engine, "redrawn", redrawn(digits)).accuracy,
        corrupted={kind: evaluate_model(engine, kind, corrupted_digits(digits, kind)).accuracy for kind in CORRUPTIONS},
        non_digits={
            kind: roc_area(clean, evidence(answers(engine, non_digits(digits, kind))[0], temperature))
            for kind in NON_DIGITS
        },
    )
