"""The protocol's routes."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Path
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

import service
from service.answer import json_answer
from service.errors import UnknownError
from service.features import Activations
from service.predictor import Predictor
from service.protocol.codec import InferAnswer, Inference, InferRequest, decode, encode, metadata
from service.protocol.example import example_request
from service.routes.predict import ERRORS
from service.state import SharedPredictor, SharedState

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=ERRORS)


def _named(
    predictor: SharedPredictor, model: Annotated[str, Path(examples=["digits"])], version: str | None = None
) -> Predictor:
    """The predictor, if it serves the model and version of the path."""
    manifest = predictor.engine.manifest
    if model != manifest.name:
        raise UnknownError(f"there is no model '{model[:40]}' here")
    if version not in (None, manifest.version):
        raise UnknownError(f"the model '{model}' has no version '{version[:40] if version else ''}' here")
    return predictor


NamedPredictor = Annotated[Predictor, Depends(_named)]


@router.get("")
async def server() -> dict[str, Any]:
    """Tells the server's name, version and extensions."""
    return {"name": "digitscope", "version": service.__version__, "extensions": []}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Tells that the server answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(state: SharedState) -> Response:
    """Tells whether predictions are answered: the model is loaded, verified and warmed, and its last run went well."""
    is_ready = state.loaded is not None and await state.loaded.is_ready()
    return json_answer({"ready": is_ready}, 200 if is_ready else 503)


@router.get("/models/{model}")
@router.get("/models/{model}/versions/{version}")
async def model_metadata(predictor: NamedPredictor) -> dict[str, Any]:
    """Tells the model's inputs and outputs. The feature maps can be asked for by name beside them."""
    manifest = predictor.engine.manifest
    return metadata(manifest, [manifest.version])


@router.get("/models/{model}/ready")
@router.get("/models/{model}/versions/{version}/ready")
async def model_ready(predictor: NamedPredictor) -> Response:
    """Tells whether the model answers predictions."""
    is_ready = await predictor.is_ready()
    return json_answer({"ready": is_ready}, 200 if is_ready else 503)


REQUEST_SCHEMAS: dict[str, Any] = models_json_schema(
    [(InferRequest, "validation")], ref_template="#/components/schemas/{model}"
)[1]["$defs"]
"""The parts of an inference request's schema by name: FastAPI collects those of the bodies that it reads itself."""

_PREDICTED = {"logits", "probabilities"}

_INFER: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"model": InferAnswer, "description": "The outputs"}},
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/InferRequest"},
                    "example": example_request(),
                }
            },
        }
    },
}


@router.post("/models/{model}/infer", **_INFER)
@router.post("/models/{model}/versions/{version}/infer", **_INFER)
async def infer(request: Request, state: SharedState, predictor: NamedPredictor) -> Response:
    """Runs the model on prepared digits, uint8 (n, 1, 28, 28), bright ink on black."""
    inference = decode(await request.body(), predictor.engine.manifest, state.settings.max_images)
    values = await _run(inference, predictor)
    answer = encode(inference, values, predictor.engine.manifest)
    if values.keys() <= _PREDICTED:
        return json_answer(answer)
    return await run_in_threadpool(json_answer, answer)  # feature maps are thousands of numbers an image


async def _run(inference: Inference, predictor: Predictor) -> dict[str, Activations]:
    if not set(inference.outputs) <= _PREDICTED:
        return await predictor.inspect(list(inference.images), inference.outputs)
    predictions = await predictor.predict(list(inference.images))
    return {
        "logits": np.stack([prediction.logits for prediction in predictions]),
        "probabilities": np.stack([prediction.probabilities for prediction in predictions]),
    }
