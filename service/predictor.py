"""The whole request: bytes → image → batcher → engine → answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anyio import CapacityLimiter, to_thread
from numpy.typing import NDArray

from service.batcher import Batcher
from service.cpus import available_cpus
from service.engine import Activations, Engine
from service.errors import OverloadedError
from service.image import Digit, Preprocess, read_picture
from service.metrics import Metrics
from service.settings import Settings

_INSPECTIONS = 1  # at a time: looking inside is to leave the CPUs to predictions
_WAITING_INSPECTIONS = 16


@dataclass(frozen=True)
class Prediction:
    """The network's answer to one image, both float32 (10,)."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def digit(self) -> int:
        """The digit with the largest probability: always the best guess."""
        return int(self.probabilities.argmax())


class Predictor:
    """An open engine with its queue. Digits go in as uint8 (28, 28), bright ink on black."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self._max_pixels = settings.max_pixels
        self._metrics = metrics
        self._batcher = Batcher(self._run, max_batch=settings.max_batch, max_waiting=settings.max_waiting)
        self._decoding = CapacityLimiter(available_cpus())
        self._inspecting = CapacityLimiter(_INSPECTIONS)

    async def read(self, data: bytes, preprocess: Preprocess) -> Digit:
        """What the network sees of a picture's bytes.

        Raises:
            RequestError: it is no picture that can be read; see `service.image`.
        """
        return await to_thread.run_sync(read_picture, data, preprocess, self._max_pixels, limiter=self._decoding)

    async def predict(self, digits: Sequence[Digit]) -> list[Prediction]:
        """The answer to each digit.

        Raises:
            OverloadedError: too many wait already.
            EngineError: the engine failed.
        """
        return await self._batcher.submit(digits)

    async def inspect(self, digits: Sequence[Digit], names: Sequence[str]) -> dict[str, Activations]:
        """The named layers or outputs, each float32 (n, *shape of the layer).

        Raises:
            OverloadedError: too many wait already.
            EngineError: the engine failed.
        """
        if self._inspecting.statistics().tasks_waiting >= _WAITING_INSPECTIONS:
            raise OverloadedError(f"{_WAITING_INSPECTIONS} requests wait already to look inside the network")
        return await to_thread.run_sync(self.engine.inspect, np.stack(digits)[:, None], names, limiter=self._inspecting)

    async def is_ready(self) -> bool:
        """Whether the engine answers; after a failure it is asked its golden inputs again."""
        return self.engine.healthy or await to_thread.run_sync(self.engine.recover)

    def _run(self, digits: list[Digit]) -> list[Prediction]:
        logits, probabilities = self.engine.predict(np.stack(digits)[:, None])
        self._metrics.batches.observe(len(digits))
        predictions = [Prediction(*answer) for answer in zip(logits, probabilities, strict=True)]
        for prediction in predictions:
            self._metrics.predictions.labels(prediction.digit).inc()
        return predictions
