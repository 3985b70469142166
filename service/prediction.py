"""The network's answers, as numbers and as JSON."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.answer import to_json


class Run:
    """The answers to the images of one run, which the requests that share it take their parts of.

    Attributes:
        logits, probabilities: float32 (n, 10) each.
        digits: of each image the one with the largest probability: always the best guess; int64 (n,).
    """

    def __init__(self, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> None:
        self.logits = logits
        self.probabilities = probabilities
        self.digits: NDArray[np.int64] = probabilities.argmax(axis=1)

    @cached_property
    def json(self) -> list[bytes]:
        """Each image's answer as a JSON object: digit, confidence, probabilities."""
        # The numbers of the whole run are written by one call and cut apart: a call an image costs three times as much.
        rows = to_json(self.probabilities)[2:-2].split(b"],[")
        confidences = to_json(self.probabilities.max(axis=1))[1:-1].split(b",")
        return [
            b'{"digit":%d,"confidence":%b,"probabilities":[%b]}' % answer
            for answer in zip(self.digits.tolist(), confidences, rows, strict=True)
        ]


class Prediction:
    """The answers to one request's images: a part of a run."""

    __slots__ = ("_run", "_start", "_stop")

    def __init__(self, run: Run, start: int, stop: int) -> None:
        self._run = run
        self._start = start
        self._stop = stop

    @property
    def logits(self) -> NDArray[np.float32]:
        """Float32 (n, 10)."""
        return self._run.logits[self._start : self._stop]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Float32 (n, 10)."""
        return self._run.probabilities[self._start : self._stop]

    @property
    def json(self) -> list[bytes]:
        """Each image's answer as a JSON object: digit, confidence, probabilities."""
        return self._run.json[self._start : self._stop]


def joined(parts: list[Prediction]) -> Prediction:
    """The parts of a request that was too large for one run, as one."""
    if len(parts) == 1:
        return parts[0]
    run = Run(np.concatenate([part.logits for part in parts]), np.concatenate([part.probabilities for part in parts]))
    return Prediction(run, 0, len(run.logits))
