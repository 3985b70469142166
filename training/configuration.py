"""Everything that decides which weights a run ends with, apart from the data and the machine."""

import dataclasses
import json
from dataclasses import dataclass, field

from training.augment import Distortion


@dataclass(frozen=True)
class Configuration:
    """One training run. Optimiser: SGD with Nesterov momentum; schedule: warm-up, then cosine to zero."""

    seed: int = 0  # of the split, the initial weights, the order, the augmentation and the dropout
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

    def to_json(self) -> str:
        """As one line of JSON, the same for equal configurations."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Configuration":
        """The configuration that `to_json` wrote.

        Raises:
            TypeError, ValueError: it is no such text.
        """
        values = json.loads(text)
        return cls(**values | {"distortion": Distortion(**values["distortion"])})
