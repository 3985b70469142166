"""`POST /v1/predict`: pictures in, digits out."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query
from starlette.responses import Response

from service.answer import Answer, to_json
from service.call import Call, Head, media_type
from service.errors import MalformedError
from service.image import PIXELS, Pixels, Preprocess, as_png_url
from service.intake import MULTIPART, REQUEST_BODY, find_all, read_at_once, read_digits
from service.prediction import Prediction
from service.predictor import Predictor
from service.schemas.common import ErrorAnswer
from service.schemas.predict import PredictAnswer
from service.thin import Reader, ThinRoute, Work

router = APIRouter(tags=["digitscope"], route_class=ThinRoute)

_PREPROCESS = "mnist makes the picture what MNIST would hold; none takes 28×28 pixels as they are"
_SEEN = "answer also with the 28×28 that the network saw"
_SEGMENT = (
    "answer for each digit that is found in each picture, left to right and top to bottom, with its box; for pictures "
    "and preprocess=mnist alone"
)
PreprocessQuery = Annotated[Preprocess, Query(description=_PREPROCESS)]
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": ErrorAnswer,
        "description": "The request cannot be answered: 400, 401, 403, 404, 405, 413, 415 or 429",
    },
    "5XX": {"model": ErrorAnswer, "description": "The service cannot answer now: 500, 503 or 504"},
}
_PARAMETERS = [
    {
        "name": "preprocess",
        "in": "query",
        "description": _PREPROCESS,
        "schema": {"type": "string", "enum": ["mnist", "none"], "default": "mnist"},
    },
    {"name": "seen", "in": "query", "description": _SEEN, "schema": {"type": "boolean", "default": False}},
    {"name": "segment", "in": "query", "description": _SEGMENT, "schema": {"type": "boolean", "default": False}},
]
_PREPROCESSES: dict[str, Preprocess] = {"mnist": "mnist", "none": "none"}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class _Choices(NamedTuple):
    preprocess: Preprocess = "mnist"
    seen: bool = False
    segment: bool = False


@router.post(
    "/v1/predict",
    summary="Recognises digits",
    response_class=Response,
    responses=ERRORS | {200: {"model": PredictAnswer, "description": "The predictions"}},
    openapi_extra={"requestBody": REQUEST_BODY, "parameters": _PARAMETERS},
)
async def predict(call: Call) -> Response:
    """Recognises the digit in each picture.

    Prepared digits (application/octet-stream, 784 bytes each) are taken as they are. A picture that is blank, of
    several digits, of none, or of one that could be another too is answered by the best guess, and as rejected.
    """
    shared = call.shared
    predictor = shared.predictor
    preprocess, seen, segment = _choices(call.scope["query_string"])
    if segment:
        return await _segmented(call, predictor, seen=seen)
    pixels, reasons = await read_digits(call, preprocess, predictor, shared.settings)
    prediction = await predictor.predict(pixels, reasons=reasons, gone=call.gone)
    return _answer(prediction, pixels, predictor, seen=seen)


def predict_reader(head: Head) -> Reader | None:
    """The reader of requests to `/v1/predict` that are no multipart, and whose pictures are a digit each.

    Raises:
        MalformedError: the head asks for what there is not.
    """
    preprocess, seen, segment = _choices(head.query)
    kind = media_type(head.fields)
    predictor, settings = head.shared.predictor, head.shared.settings

    def read(body: bytes) -> Work | None:
        digits = read_at_once(body, kind, preprocess, predictor, settings)
        if digits is None:
            return None
        pixels, reasons = digits
        return Work(
            predictor, pixels, lambda prediction: _answer(prediction, pixels, predictor, seen=seen), reasons=reasons
        )

    return read if kind != MULTIPART and not segment else None


async def _segmented(call: Call, predictor: Predictor, *, seen: bool) -> Answer:
    pictures = await find_all(call, predictor, call.shared.settings)
    found = [(picture, digit) for picture, digits in enumerate(pictures) for digit in digits]
    if not found:
        return _whole_answer([], predictor)
    pixels = b"".join([digit.tobytes() for _, (_, digit) in found])
    prediction = await predictor.predict(pixels, gone=call.gone)
    answers = [
        b'{"picture":%d,"box":%b,%b' % (picture, to_json(box), answer[1:])
        for (picture, (box, _)), answer in zip(found, _answers(prediction, pixels, seen=seen), strict=True)
    ]
    return _whole_answer(answers, predictor)


def _answer(prediction: Prediction, pixels: Pixels, predictor: Predictor, *, seen: bool) -> Answer:
    return _whole_answer(_answers(prediction, pixels, seen=seen), predictor)


def _answers(prediction: Prediction, pixels: Pixels, *, seen: bool) -> list[bytes]:
    if not seen:
        return prediction.json
    return [_with_seen(answer, pixels, number) for number, answer in enumerate(prediction.json)]


def _whole_answer(answers: Sequence[bytes], predictor: Predictor) -> Answer:
    return Answer(b'{"model":%b,"predictions":[%b]}' % (predictor.model_json, b",".join(answers)))


def _choices(query: bytes) -> _Choices:
    if not query:
        return _Choices()
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    preprocess = given.get("preprocess", "mnist")
    if preprocess not in _PREPROCESSES:
        raise MalformedError("preprocess: it is to be 'mnist' or 'none'")
    choices = _Choices(_PREPROCESSES[preprocess], _boolean(given, "seen"), _boolean(given, "segment"))
    if choices.segment and choices.preprocess == "none":
        raise MalformedError("segment: it finds digits in pictures, and preprocess=none takes a picture as one digit")
    return choices


def _boolean(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false").lower()
    if value not in _BOOLEANS:
        raise MalformedError(f"{name}: it is to be 'true' or 'false'")
    return _BOOLEANS[value]


def _with_seen(answer: bytes, pixels: Pixels, number: int) -> bytes:
    digit = pixels[number * PIXELS : (number + 1) * PIXELS]
    return b'%b,"seen":%b}' % (answer[:-1], to_json(as_png_url(digit)))
