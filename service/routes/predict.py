"""`POST /v1/predict`: pictures in, digits out."""

import base64
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query
from starlette.responses import Response

from service.answer import Answer, to_json
from service.call import Call, Head, media_type
from service.errors import MalformedError
from service.image import PIXELS, Pixels, Preprocess, as_png
from service.intake import MULTIPART, REQUEST_BODY, read_at_once, read_digits
from service.prediction import Prediction
from service.predictor import Predictor
from service.schemas import ErrorAnswer, PredictAnswer
from service.thin import Reader, ThinRoute, Work

router = APIRouter(tags=["digitscope"], route_class=ThinRoute)

_PREPROCESS = "mnist makes the picture what MNIST would hold; none takes 28×28 pixels as they are"
_SEEN = "answer also with the 28×28 that the network saw"
PreprocessQuery = Annotated[Preprocess, Query(description=_PREPROCESS)]
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot be answered: 400, 404, 405, 413 or 415"},
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
]
_PREPROCESSES: dict[str, Preprocess] = {"mnist": "mnist", "none": "none"}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@router.post(
    "/v1/predict",
    response_class=Response,
    responses=ERRORS | {200: {"model": PredictAnswer, "description": "The predictions"}},
    openapi_extra={"requestBody": REQUEST_BODY, "parameters": _PARAMETERS},
)
async def predict(call: Call) -> Response:
    """Recognises the digit in each picture.

    Prepared digits (application/octet-stream, 784 bytes each) are taken as they are.
    """
    shared = call.shared
    predictor = shared.predictor
    preprocess, seen = _choices(call.scope["query_string"])
    pixels = await read_digits(call, preprocess, predictor, shared.settings)
    return _answer(await predictor.predict(pixels, gone=call.gone), pixels, predictor, seen=seen)


def predict_reader(head: Head) -> Reader | None:
    """The reader of requests to `/v1/predict` that are no multipart.

    Raises:
        MalformedError: the head asks for what there is not.
    """
    preprocess, seen = _choices(head.query)
    kind = media_type(head.fields)
    predictor, settings = head.shared.predictor, head.shared.settings

    def read(body: bytes) -> Work | None:
        pixels = read_at_once(body, kind, preprocess, predictor, settings)
        if pixels is None:
            return None
        return Work(pixels, lambda prediction: _answer(prediction, pixels, predictor, seen=seen))

    return read if kind != MULTIPART else None


def _answer(prediction: Prediction, pixels: Pixels, predictor: Predictor, *, seen: bool) -> Answer:
    answers = prediction.json
    if seen:
        answers = [_with_seen(answer, pixels, number) for number, answer in enumerate(answers)]
    return Answer(b'{"model":%b,"predictions":[%b]}' % (predictor.model_json, b",".join(answers)))


def _choices(query: bytes) -> tuple[Preprocess, bool]:
    if not query:
        return "mnist", False
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    preprocess, seen = given.get("preprocess", "mnist"), given.get("seen", "false").lower()
    if preprocess not in _PREPROCESSES:
        raise MalformedError("preprocess: it is to be 'mnist' or 'none'")
    if seen not in _BOOLEANS:
        raise MalformedError("seen: it is to be 'true' or 'false'")
    return _PREPROCESSES[preprocess], _BOOLEANS[seen]


def _with_seen(answer: bytes, pixels: Pixels, number: int) -> bytes:
    digit = pixels[number * PIXELS : (number + 1) * PIXELS]
    url = "data:image/png;base64," + base64.b64encode(as_png(digit)).decode()
    return b'%b,"seen":%b}' % (answer[:-1], to_json(url))
