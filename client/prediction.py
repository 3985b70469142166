"""What is known of one digit, and of the model that said so."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 28  # pixels along each side of a prepared digit
PIXELS = SIDE * SIDE


class Prediction(NamedTuple):
    """The answer to one picture or prepared digit.

    Attributes:
        digit: always the best guess, 0 to 9.
        confidence: the probability of that digit.
        rejected: whether the picture is better not taken for that digit.
        reason: why: blank, several, not_a_digit or ambiguous.
        probabilities: of the digits 0 to 9.
        features: the values of a layer, float32 of the layer's shape, where one was asked for.
    """

    digit: int
    confidence: float
    rejected: bool
    reason: str | None
    probabilities: tuple[float, ...]
    features: NDArray[np.float32] | None = None


class Model(NamedTuple):
    """The model that answers: its name, its version and the SHA-256 of its file; the shapes of its layers by name."""

    name: str
    version: str
    sha256: str
    layers: dict[str, tuple[int, ...]]


class Row(NamedTuple):
    """What becomes of one input: a prediction, or the sentence that says why there is none."""

    input: str
    prediction: Prediction | None
    error: str | None = None
