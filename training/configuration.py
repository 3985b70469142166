"""Everything that decides which weights a run ends with, apart from the data and the machine."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.augment import Distortion


@dataclass(frozen=True)
class Teaching:
    """How larger networks, trained as the run itself but for these values, teach it: by what they see in its images.

    Every training digit is distorted `views` times, the teachers say what they see in each of these images, and the
    run learns from the very same images: from labels alone a distorted digit, which may have become half another one,
    would have to be what it was.
    """

    teachers: int = 2  # whose probabilities are averaged
    epochs: int = 10  # of each teacher
    weight_decay: float = 5e-4  # of the teachers
    dropout: float = 0.5  # of the teachers
    views: int = 10  # distorted images of each digit
    share: float = 1.0  # of the loss that is the teachers', the rest being the labels'
    softness: float = 1.0  # temperature at which probabilities are compared


@dataclass(frozen=True)
class Configuration:
    """One training run. Optimiser: SGD with Nesterov momentum; schedule: warm-up, then cosine to zero."""

    seed: int = 0  # of the split, the initial weights, the order, the augmentation and the dropout
    split: int | None = None  # seed of the split, where it is not to be `seed`
    epochs: int = 32
    batch: int = 64  # digits a step
    learning_rate: float = 0.05  # at its peak
    warmup: float = 0.1  # of all steps
    momentum: float = 0.9
    weight_decay: float = 2e-4  # a step, before the learning rate
    dropout: float = 0.4  # chance that a unit of fc1 is dropped
    label_smoothing: float = 0.0
    averaging: float = 0.999  # a step, decay of the moving average of the weights
    validation: int = 5_000  # digits kept from training
    limit: int = 0  # digits to train on, 0 for all
    corrupted: float = 0.0  # share of the digits that are corrupted ones
    copies: int = 2  # corrupted ones of each digit
    non_digits: float = 0.0  # for each digit, shown beside them
    distortion: Distortion = field(default_factory=Distortion)
    teaching: Teaching | None = None

    @property
    def split_seed(self) -> int:
        """What draws the validation digits."""
        return self.seed if self.split is None else self.split

    def to_json(self) -> str:
        """As one line of JSON, the same for equal configurations."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Configuration":
        """The configuration that `to_json` wrote.

        Raises:
            TypeError, ValueError: it is no such text.
        """
        values = dict(json.loads(text))
        teaching = values.get("teaching")  # which older texts do not have
        return cls(
            **values | {"distortion": Distortion(**values["distortion"]), "teaching": teaching and Teaching(**teaching)}
        )


def split_seed(training: Mapping[str, Any]) -> int:
    """What drew the validation digits of a run, by its configuration's values; older ones have no `split`."""
    split = training.get("split")
    return int(training["seed"] if split is None else split)
