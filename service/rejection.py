"""Why an answer is rejected: its image is no single digit, or not certainly the one that it is read as.

What is rejected is answered all the same, by the best guess. Thresholds are the manifest's.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.manifest import Manifest

Reason = Literal["blank", "several", "not_a_digit", "ambiguous"]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""In order of precedence: of several that hold, the first is told."""

Reasons = Sequence[str | None]
"""One an image, None for those that are not rejected; empty where none is."""

_FAINTEST = 12  # grey levels: an image that is nowhere brighter is blank
_MIDDLE = 14  # a row that hardly any digit leaves out


def evidence(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """The log-odds of being a digit, log Σ exp of the network's own logits, of those (n, 10) that the model gives."""
    raw = logits.astype(np.float64) * temperature  # which was divided into the last layer
    largest = raw.max(axis=1)
    found: NDArray[np.float64] = largest + np.log(np.exp(raw - largest[:, None]).sum(axis=1))
    return found


def _may_be_blank(images: NDArray[np.uint8]) -> bool:
    """Whether any has nothing bright in its middle, or a corner that is not black, as one of a single level has."""
    middle = np.maximum.reduce(images[:, 0, _MIDDLE], 1)
    return min(middle.tobytes()) < _FAINTEST or bool(images[:, 0, 0, 0].tobytes().strip(b"\0"))


class Gates:
    """The thresholds of one model, and what images have to pass before."""

    def __init__(self, manifest: Manifest) -> None:
        self._temperature = manifest.temperature
        limits = manifest.rejection
        self._evidence = -np.inf if limits.evidence is None else limits.evidence
        self._confidence = -np.inf if limits.confidence is None else limits.confidence

    def reasons(
        self,
        images: NDArray[np.uint8],
        logits: NDArray[np.float32],
        largest: NDArray[np.float32],
        confidences: NDArray[np.float32],
        noted: Reasons = (),
    ) -> Reasons:
        """Why the images of one run are rejected, (n, 1, 28, 28), with their logits (n, 10).

        `largest` and `confidences` are the logit and the probability of the digit that each is read as, and `noted` is
        what was found when their pictures were read.
        """
        # Whether anything can be wrong at all is told at a fraction of what finding the reasons costs, and in most runs
        # that is all. Lists and bytes, since Python finds the least of a few in a fifth of the time that NumPy takes.
        blank = _may_be_blank(images)
        unsure = min(confidences.tolist()) < self._confidence
        weak = min(largest.tolist()) * self._temperature < self._evidence
        if not (noted or blank or unsure or weak):
            return ()
        found = np.full(len(logits), None, object)  # the later of what follows takes precedence
        if unsure:
            found[confidences.astype(np.float64) < self._confidence] = "ambiguous"
        if weak:  # in its largest logit alone: the evidence is always more than that
            found[evidence(logits, self._temperature) < self._evidence] = "not_a_digit"
        if noted:
            found[[reason == "several" for reason in noted]] = "several"
            found[[reason == "blank" for reason in noted]] = "blank"
        if blank:
            levels = images.reshape(len(images), -1)
            brightest = levels.max(axis=1)
            found[(brightest < _FAINTEST) | (brightest == levels.min(axis=1))] = "blank"
        reasons: list[str | None] = found.tolist()
        return reasons
