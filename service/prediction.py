"""The network's answers, as numbers and as JSON."""

from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from service.answer import to_json
from service.rejection import REASONS, Reasons

_ROW = 40  # bytes: ten numbers in float32
_ACCEPTED = b'"rejected":false,"reason":null'
_REJECTED: dict[str, bytes] = {reason: b'"rejected":true,"reason":"%b"' % reason.encode() for reason in REASONS}


class Run:
    """The answers to the images of one run, which the requests that share it take their parts of.

    Attributes:
        logits, probabilities: float32 (n, 10) each.
        reasons: why images are rejected.
        unseen: whether it is still to be seen why any is rejected.
        requests: how many share it.
        began, ended: when it did, on the clock of `time.perf_counter`.
    """

    unseen = False
    requests = 1
    began = ended = 0.0

    def __init__(self, logits: NDArray[np.float32], probabilities: NDArray[np.float32], reasons: Reasons = ()) -> None:
        self.logits = logits
        self.probabilities = probabilities
        self.reasons = reasons

    @cached_property
    def digits(self) -> NDArray[np.int64]:
        """Of each image the one with the largest probability: always the best guess; int64 (n,)."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        return self.digits + _starts(len(self.digits))  # finding the largest numbers anew would cost three times this

    @cached_property
    def largest(self) -> NDArray[np.float32]:
        """The logit of that digit, float32 (n,)."""
        return self.logits.take(self._places)

    @cached_property
    def confidences(self) -> NDArray[np.float32]:
        """The probability of that digit, float32 (n,)."""
        return self.probabilities.take(self._places)

    @cached_property
    def written(self) -> dict[str, bytes]:
        """Its outputs by name, each 40 bytes an image."""
        return {"logits": self.logits.tobytes(), "probabilities": self.probabilities.tobytes()}

    @cached_property
    def json(self) -> list[bytes]:
        """Each image's answer as a JSON object: digit, confidence, rejected, reason, probabilities."""
        # The numbers of the whole run are written by one call and cut apart: a call an image costs three times as much.
        rows = to_json(self.probabilities)[2:-2].split(b"],[")
        confidences = to_json(self.confidences)[1:-1].split(b",")
        answers = [
            b'{"digit":%d,"confidence":%b,"rejected":false,"reason":null,"probabilities":[%b]}' % answer
            for answer in zip(self.digits.tolist(), confidences, rows, strict=True)
        ]
        for number, reason in enumerate(self.reasons):
            if reason is not None:
                answers[number] = answers[number].replace(_ACCEPTED, _REJECTED[reason])
        return answers


@lru_cache(maxsize=256)
def _starts(count: int) -> NDArray[np.int64]:
    """Where each row of ten begins."""
    return np.arange(0, 10 * count, 10)


class Prediction:
    """The answers to one request's images: a part of a run.

    Attributes:
        run: the whole run.
    """

    __slots__ = ("_start", "_stop", "run")

    def __init__(self, run: Run, start: int, stop: int) -> None:
        self.run = run
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def logits(self) -> NDArray[np.float32]:
        """Float32 (n, 10)."""
        return self.run.logits[self._start : self._stop]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Float32 (n, 10)."""
        return self.run.probabilities[self._start : self._stop]

    def written(self, name: str) -> bytes:
        """The output of that name as bytes, row by row; cut out of those of the run, which is cheaper than an array."""
        return self.run.written[name][_ROW * self._start : _ROW * self._stop]

    @property
    def reasons(self) -> Reasons:
        """Why images are rejected."""
        return self.run.reasons[self._start : self._stop]

    @property
    def json(self) -> list[bytes]:
        """Each image's answer as a JSON object: digit, confidence, rejected, reason, probabilities."""
        return self.run.json[self._start : self._stop]


def joined(parts: list[Prediction]) -> Run:
    """The numbers of the parts of a request that was too large for one run, as of one."""
    run = Run(np.concatenate([part.logits for part in parts]), np.concatenate([part.probabilities for part in parts]))
    run.began = parts[0].run.began
    return run
