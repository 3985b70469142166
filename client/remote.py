"""Has groups answered by a service."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from client.asynchronous import AsyncClient, Preprocess
from client.errors import AnswerError, GivenUpError, RefusedError, RunError
from client.prediction import SIDE, Prediction

Kind = Literal["picture", "digit"]
Answer = Prediction | str
"""Of one input: its prediction, or the sentence that says why there is none."""

_OF_AN_INPUT = (400, 413, 415, 422, 500)
"""The statuses of refusals that may lie with an input; others, such as 401 and 404, would be those of all."""

_log = logging.getLogger(__name__)


class Answerer(Protocol):
    """What answers the inputs of a group."""

    async def answer(self, kind: Kind, data: Sequence[bytes]) -> list[Answer]:
        """An answer to each.

        Raises:
            RunError: no more can be answered.
        """
        ...


class Remote:
    """Asks a service. If a request for several fails, each half of them is asked for, down to the one that is bad."""

    def __init__(
        self, client: AsyncClient, *, preprocess: Preprocess = "mnist", layer: str | None = None, model: str = "digits"
    ) -> None:
        """`layer` is the one whose values are wanted too, of the model of that name."""
        self._client = client
        self._preprocess: Preprocess = preprocess
        self._layer = layer
        self._model = model

    async def answer(self, kind: Kind, data: Sequence[bytes]) -> list[Answer]:
        """An answer to each.

        Raises:
            RunError: the service answers or lets in nobody any more, or answers by another model.
        """
        try:
            return list(await self._ask(kind, data))
        except (RefusedError, AnswerError, GivenUpError) as error:
            if isinstance(error, GivenUpError) and not error.alone:
                raise RunError(f"the service does not answer: {error}") from error
            if isinstance(error, RefusedError) and error.status not in _OF_AN_INPUT:
                raise RunError(f"the service refuses all: {error.status}: {error}") from error
            if len(data) == 1:
                return [str(error)]
            _log.debug("a request for %d inputs failed, and its halves are asked for: %s", len(data), error)
        middle = len(data) // 2
        tasks = [asyncio.create_task(self.answer(kind, half)) for half in (data[:middle], data[middle:])]
        try:
            halves = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [answer for half in halves for answer in half]

    async def _ask(self, kind: Kind, data: Sequence[bytes]) -> list[Prediction]:
        if kind == "digit":
            digits = np.frombuffer(b"".join(data), np.uint8).reshape(-1, SIDE, SIDE)
            predictions = await self._client.predict_digits(digits)
        elif self._layer is None:
            return await self._client.predict(data, preprocess=self._preprocess)
        else:
            predictions, digits = await self._client.see(data, preprocess=self._preprocess)
        if self._layer is None:
            return predictions
        values = await self._client.features(digits, self._layer, model=self._model)
        return [prediction._replace(features=each) for prediction, each in zip(predictions, values, strict=True)]
