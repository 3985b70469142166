"""`POST /v1/predict`: pictures in, digits out."""

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import json_answer
from service.image import Digit, Preprocess, as_png
from service.intake import REQUEST_BODY, read_digits
from service.manifest import Manifest
from service.predictor import Prediction
from service.schemas import ErrorAnswer, PredictAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])

PreprocessQuery = Annotated[
    Preprocess,
    Query(description="mnist makes the picture what MNIST would hold; none takes 28×28 pixels as they are"),
]
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot be answered: 400, 404, 405, 413 or 415"},
    "5XX": {"model": ErrorAnswer, "description": "The service cannot answer now: 500 or 503"},
}


@router.post(
    "/v1/predict",
    response_class=Response,
    responses=ERRORS | {200: {"model": PredictAnswer, "description": "The predictions"}},
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def predict(
    request: Request,
    state: SharedState,
    predictor: SharedPredictor,
    preprocess: PreprocessQuery = "mnist",
    seen: Annotated[bool, Query(description="answer also with the 28×28 that the network saw")] = False,
) -> Response:
    """Recognises the digit in each picture.

    Prepared digits (application/octet-stream, 784 bytes each) are taken as they are.
    """
    digits = await read_digits(request, preprocess, predictor, state.settings)
    predictions = await predictor.predict(digits)
    answers = [
        _answer(prediction, digit if seen else None) for prediction, digit in zip(predictions, digits, strict=True)
    ]
    return json_answer({"model": model_name(predictor.engine.manifest), "predictions": answers})


def model_name(manifest: Manifest) -> dict[str, str]:
    """The model that answers, as every answer under /v1 has it."""
    return {"name": manifest.name, "version": manifest.version}


def _answer(prediction: Prediction, seen: Digit | None) -> dict[str, Any]:
    answer = {
        "digit": prediction.digit,
        "confidence": prediction.probabilities[prediction.digit],
        "probabilities": prediction.probabilities,
    }
    if seen is not None:
        answer["seen"] = "data:image/png;base64," + base64.b64encode(as_png(seen)).decode()
    return answer
