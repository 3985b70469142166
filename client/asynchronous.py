"""The client for asyncio."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from client.errors import BusyError, GivenUpError, LostError, RefusedError, RunError, TransientError
from client.inference import HEADER_LENGTH, inference, read_inference
from client.prediction import SIDE, Model, Prediction
from client.retry import attempts, retry_after
from client.transport import HttpTransport, Reply, Transport
from client.window import Window
from client.wire import PREPARED, multipart, read_model, read_predictions, read_refusal, read_seen

Preprocess = Literal["mnist", "none"]
Digits = NDArray[np.uint8]

PICTURES = 64
"""The most pictures of one request."""

DIGITS = 256
"""The most prepared digits of one request."""

_LATER = (429, 502, 503)  # a proxy's 502 is a connection that it lost
_LATE = 504
_log = logging.getLogger(__name__)


class AsyncClient:
    """Asks a digitscope service. Requests beyond the window wait; what is safe to repeat is repeated.

    Attributes:
        window: how many requests are under way at once.
        version: of the model that answered last; another than before raises RunError, since answers would be mixed.
        repeated: how many requests had to be asked again, counted each time.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        patience: float = 120.0,
        transport: Transport | None = None,
        window: Window | None = None,
    ) -> None:
        """`timeout` is that of one attempt and `patience` that of all at one request, in seconds.

        The key is the one of the environment's `DIGITSCOPE_API_KEY` unless it is given.

        Raises:
            RunError: the address is none of HTTP.
        """
        self.window = window or Window()
        self.version: str | None = None
        self.repeated = 0
        self._transport = transport or HttpTransport(url, key=key, timeout=timeout)
        self._patience = patience
        self._answered = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of its connections."""
        await self._transport.close()

    async def model(self, patience: float | None = None) -> Model:
        """The model that answers; `patience` in seconds, if another than the client's.

        Raises:
            ClientError: as `predict`.
        """
        reply = await self._ask("GET", "/v1/model", b"", {}, patience=patience)
        model = read_model(reply.body)
        self._note_version(model.version)
        return model

    async def predict(self, pictures: Sequence[bytes], *, preprocess: Preprocess = "mnist") -> list[Prediction]:
        """The digit of each picture, given as the bytes of its file; more than 64 go in several requests.

        Raises:
            RefusedError: a picture is bad; of several in a request the sentence says which, counted from 1.
            GivenUpError: the service did not answer for as long as patience lasts.
            AnswerError: it answered something else.
            RunError: the model is another one than before, or the service asks for more patience than there is.
        """
        parts = [pictures[start : start + PICTURES] for start in range(0, len(pictures), PICTURES)]
        found = await asyncio.gather(*[self._predict(part, preprocess) for part in parts])
        return [prediction for part in found for prediction in part]

    async def predict_digits(self, digits: Digits) -> list[Prediction]:
        """The digits of prepared ones, uint8 (n, 28, 28), bright ink on black; more than 256 go in several requests.

        Raises:
            ClientError: as `predict`.
        """
        found = await asyncio.gather(*[self._predict_digits(part) for part in _parts(digits)])
        return [prediction for part in found for prediction in part]

    async def see(
        self, pictures: Sequence[bytes], *, preprocess: Preprocess = "mnist"
    ) -> tuple[list[Prediction], Digits]:
        """The digit of each of up to 64 pictures, and what the network saw of it, uint8 (n, 28, 28).

        Raises:
            ClientError: as `predict`.
        """
        reply = await self._post_pictures(f"/v1/predict?seen=true&preprocess={preprocess}", pictures)
        version, predictions, digits = read_seen(reply.body, len(pictures))
        self._note_version(version)
        return predictions, digits

    async def features(self, digits: Digits, layer: str, *, model: str = "digits") -> NDArray[np.float32]:
        """The values of a layer, float32 (n, *its shape), for prepared digits as `predict_digits` takes them.

        Raises:
            ClientError: as `predict`; RefusedError if there is no such layer.
        """
        return np.concatenate(await asyncio.gather(*[self._features(part, layer, model) for part in _parts(digits)]))

    async def _predict(self, pictures: Sequence[bytes], preprocess: Preprocess) -> list[Prediction]:
        path = "/v1/predict" if preprocess == "mnist" else f"/v1/predict?preprocess={preprocess}"
        return self._predictions(await self._post_pictures(path, pictures), len(pictures))

    async def _post_pictures(self, path: str, pictures: Sequence[bytes]) -> Reply:
        if len(pictures) == 1:  # of what type it is, the service finds out by itself
            return await self._ask("POST", path, pictures[0], {})
        body, kind = multipart(pictures)
        return await self._ask("POST", path, body, {"Content-Type": kind}, len(pictures))

    async def _predict_digits(self, digits: Digits) -> list[Prediction]:
        reply = await self._ask("POST", "/v1/predict", digits.tobytes(), {"Content-Type": PREPARED}, len(digits))
        return self._predictions(reply, len(digits))

    async def _features(self, digits: Digits, layer: str, model: str) -> NDArray[np.float32]:
        body, length = inference(digits, layer)
        headers = {"Content-Type": PREPARED, HEADER_LENGTH: str(length)}
        reply = await self._ask("POST", f"/v2/models/{model}/infer", body, headers, len(digits))
        version, values = read_inference(reply.body, reply.headers.get(HEADER_LENGTH.lower()), layer, len(digits))
        self._note_version(version)
        return values

    def _predictions(self, reply: Reply, count: int) -> list[Prediction]:
        version, predictions = read_predictions(reply.body, count)
        self._note_version(version)
        return predictions

    def _note_version(self, version: str) -> None:
        if self.version not in (None, version):
            raise RunError(f"the service answers by version {version} now, and by {self.version} before")
        self.version = version

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        images: int = 1,
        patience: float | None = None,
    ) -> Reply:
        began = time.monotonic()
        patience = self._patience if patience is None else patience
        try:
            async for attempt in attempts(patience, self._note):
                with attempt:
                    return await self._ask_once(method, path, body, headers, images, patience)
        except TransientError as error:
            sentence = f"given up after {time.monotonic() - began:.0f} s: {error}"
            alone = self._answered > began and not isinstance(error, BusyError)
            raise GivenUpError(sentence, alone=alone) from error
        raise AssertionError  # the attempts end by an answer or by an error

    async def _ask_once(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], images: int, patience: float
    ) -> Reply:
        kind = path, headers.get("Content-Type", "").partition(";")[0]
        async with self.window.request(kind, images):
            reply = await self._transport.send(method, path, body, headers)
            if reply.status in _LATER or reply.status == _LATE:
                raise _later(reply, patience)
            self._answered = time.monotonic()
            if reply.status != 200:  # within the request, so that the window learns nothing of how soon it came
                raise RefusedError(read_refusal(reply.body, reply.status), reply.status)
        return reply

    def _note(self, number: int, error: TransientError, seconds: float) -> None:
        self.repeated += 1
        size = int(self.window.size)
        _log.warning("attempt %d: %s; again in %.1f s, at most %d at once", number, error, seconds, size)


def _later(reply: Reply, patience: float) -> TransientError | RunError:
    """The error of an answer after which the request may be asked again, unless that is beyond patience."""
    after = retry_after(reply.headers.get("retry-after"))
    sentence = f"{reply.status}: {read_refusal(reply.body, reply.status)}"
    if after > patience:
        return RunError(f"{sentence}; the service asks for {after:,.0f} s, and patience lasts {patience:,.0f} s")
    return LostError(sentence, after) if reply.status == _LATE else BusyError(sentence, after)


def _parts(digits: Digits) -> list[Digits]:
    if digits.dtype != np.uint8 or digits.shape[1:] != (SIDE, SIDE) or not len(digits):
        raise ValueError(f"prepared digits are uint8 (n, 28, 28), not {digits.dtype} {digits.shape}")
    return [digits[start : start + DIGITS] for start in range(0, len(digits), DIGITS)]
