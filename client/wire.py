"""Requests to `/v1/predict` and `/v1/model`, and their answers, as bytes; no HTTP."""

import base64
import io
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from client.errors import AnswerError
from client.prediction import SIDE, Model, Prediction

PREPARED = "application/octet-stream"
_PNG_URL = "data:image/png;base64,"


def multipart(pictures: Sequence[bytes]) -> tuple[bytes, str]:
    """A body of pictures as parts named `files`, and its media type.

    The parts have their numbers as file names: names of people's own would have to be quoted, and are no use there.
    """
    boundary = uuid4().hex  # 122 bits of chance, which no picture holds
    parts = []
    for number, picture in enumerate(pictures, start=1):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{number}"\r\n\r\n'
        parts += [head.encode(), picture, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def read_predictions(body: bytes, count: int) -> tuple[str, list[Prediction]]:
    """The version of the model that answered, and its predictions.

    Raises:
        AnswerError: it is no such answer, or not of `count` pictures.
    """
    answers, version = _answers(body, count)
    return version, [_prediction(answer) for answer in answers]


def read_seen(body: bytes, count: int) -> tuple[str, list[Prediction], NDArray[np.uint8]]:
    """As `read_predictions`, with what the network saw of each picture, uint8 (count, 28, 28).

    Raises:
        AnswerError: as `read_predictions`.
    """
    answers, version = _answers(body, count)
    try:
        seen = [_pixels(answer["seen"]) for answer in answers]
        digits = np.stack(seen).reshape(count, SIDE, SIDE)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise AnswerError("the answer does not show what the network saw") from error
    return version, [_prediction(answer) for answer in answers], digits


def read_model(body: bytes) -> Model:
    """The model of an answer to `GET /v1/model`.

    Raises:
        AnswerError: it is no such answer.
    """
    try:
        answer = orjson.loads(body)
        running, manifest = answer["running"], answer["manifest"]
        layers = {layer["name"]: tuple(layer["shape"]) for layer in manifest["layers"]}
        return Model(manifest["name"], running["version"], running["sha256"], layers)
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError("the answer does not describe a model: is this a digitscope service?") from error


def read_refusal(body: bytes, status: int) -> str:
    """The sentence of an answer that is a refusal, or its status where it has none, as a proxy's answer may not."""
    try:
        return str(orjson.loads(body)["error"])
    except (KeyError, TypeError, ValueError):
        return f"the answer has status {status}"


def _answers(body: bytes, count: int) -> tuple[list[dict[str, Any]], str]:
    try:
        answer = orjson.loads(body)
        answers, version = answer["predictions"], answer["model"]["version"]
        found = len(answers)
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError("the answer has no predictions: is this a digitscope service?") from error
    if found != count:
        raise AnswerError(f"{count} pictures were sent, and {found} predictions came back")
    return answers, str(version)


def _prediction(answer: dict[str, Any]) -> Prediction:
    try:
        probabilities = tuple(answer["probabilities"])
        found = Prediction(answer["digit"], answer["confidence"], answer["rejected"], answer["reason"], probabilities)
    except (KeyError, TypeError) as error:
        raise AnswerError("the answer has a prediction that lacks something") from error
    if not (
        type(found.digit) is int
        and 0 <= found.digit <= 9
        and isinstance(found.rejected, bool)
        and (found.reason is None or isinstance(found.reason, str))
        and len(probabilities) == 10
        and all(type(each) in (int, float) for each in (found.confidence, *probabilities))
    ):
        raise AnswerError("the answer has a prediction that is none of a digit")
    return found


def _pixels(url: str) -> NDArray[np.uint8]:
    png = base64.b64decode(url.removeprefix(_PNG_URL))
    return np.asarray(Image.open(io.BytesIO(png), formats=("PNG",)), np.uint8)
