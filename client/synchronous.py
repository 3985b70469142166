"""The client for programs without asyncio."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
from anyio.from_thread import start_blocking_portal
from numpy.typing import NDArray

from client.asynchronous import AsyncClient, Digits, Preprocess
from client.prediction import Model, Prediction
from client.transport import Transport


class Client:
    """The same as `AsyncClient`, whose event loop runs in a thread of this one's own; threads may share it."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        patience: float = 120.0,
        transport: Transport | None = None,
    ) -> None:
        """As `AsyncClient` takes them.

        Raises:
            RunError: the address is none of HTTP.
        """
        self._client = AsyncClient(url, key=key, timeout=timeout, patience=patience, transport=transport)
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.callback(lambda: self._portal.call(self._client.close))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of its connections and ends its thread."""
        self._stack.close()

    def model(self) -> Model:
        """As `AsyncClient.model`."""
        return self._portal.call(self._client.model)

    def predict(self, pictures: Sequence[bytes], *, preprocess: Preprocess = "mnist") -> list[Prediction]:
        """As `AsyncClient.predict`."""
        return self._portal.call(lambda: self._client.predict(pictures, preprocess=preprocess))

    def predict_digits(self, digits: Digits) -> list[Prediction]:
        """As `AsyncClient.predict_digits`."""
        return self._portal.call(self._client.predict_digits, digits)

    def see(self, pictures: Sequence[bytes], *, preprocess: Preprocess = "mnist") -> tuple[list[Prediction], Digits]:
        """As `AsyncClient.see`."""
        return self._portal.call(lambda: self._client.see(pictures, preprocess=preprocess))

    def features(self, digits: Digits, layer: str, *, model: str = "digits") -> NDArray[np.float32]:
        """As `AsyncClient.features`."""
        return self._portal.call(lambda: self._client.features(digits, layer, model=model))
