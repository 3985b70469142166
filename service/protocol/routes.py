"""The protocol's routes."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.answer import JSON, Answer, Header, json_answer
from service.call import Call, Head
from service.errors import MalformedError
from service.prediction import Prediction
from service.predictor import Predictor
from service.protocol import description
from service.protocol.codec import InferAnswer, InferRequest, decode, encode, encode_prediction, longest_request
from service.protocol.compression import WORTHWHILE, compress, decompress
from service.protocol.example import example_request
from service.protocol.inference import execute
from service.routes.predict import ERRORS
from service.state import SharedPredictor, SharedState
from service.thin import Reader, ThinRoute, Work

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=ERRORS)
thin = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=ERRORS, route_class=ThinRoute)

_HEADER_LENGTH = b"inference-header-content-length"


def _of_path(request: Request, state: SharedState) -> Predictor:
    return state.named(**request.path_params)


NamedPredictor = Annotated[Predictor, Depends(_of_path)]


@router.get("")
async def server() -> dict[str, Any]:
    """Tells the server's name, version and extensions."""
    return description.server()


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Tells that the server answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(state: SharedState) -> Response:
    """Tells whether predictions are answered: the model is loaded, verified and warmed, and its last run went well."""
    is_ready = state.is_ready()
    return json_answer({"ready": is_ready}, 200 if is_ready else 503)


@router.get("/models/stats")
async def all_statistics(state: SharedState, _: SharedPredictor) -> dict[str, Any]:
    """Tells how often and how long each version was asked, over all worker processes."""
    return {"model_stats": description.all_statistics(state)}


@router.get("/models/{model}")
@router.get("/models/{model}/versions/{version}")
async def model_metadata(state: SharedState, predictor: NamedPredictor) -> dict[str, Any]:
    """Tells the model's inputs and outputs. The feature maps can be asked for by name beside them."""
    return description.metadata(predictor.engine.manifest, state)


@router.get("/models/{model}/ready")
@router.get("/models/{model}/versions/{version}/ready")
async def model_ready(state: SharedState, predictor: NamedPredictor) -> Response:
    """Tells whether the model answers predictions."""
    is_ready = state.answers(predictor)
    return json_answer({"name": predictor.engine.manifest.name, "ready": is_ready}, 200 if is_ready else 503)


@router.get("/models/{model}/config")
@router.get("/models/{model}/versions/{version}/config")
async def model_configuration(state: SharedState, predictor: NamedPredictor) -> dict[str, Any]:
    """Tells how the model is batched."""
    return description.configuration(predictor.engine.manifest, state)


@router.get("/models/{model}/stats")
@router.get("/models/{model}/versions/{version}/stats")
async def model_statistics(state: SharedState, predictor: NamedPredictor) -> dict[str, Any]:
    """Tells how often and how long the model was asked, over all worker processes."""
    return {"model_stats": [description.statistics(predictor.engine.manifest, state.metrics)]}


REQUEST_SCHEMAS: dict[str, Any] = models_json_schema(
    [(InferRequest, "validation")], ref_template="#/components/schemas/{model}"
)[1]["$defs"]
"""The parts of an inference request's schema by name: FastAPI collects those of the bodies that it reads itself."""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_INFER: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "model": InferAnswer,
            "description": "The outputs",
            "content": {"application/octet-stream": _BINARY},
        }
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "description": "bytes of the JSON before the tensors' own bytes; 0 for bare digits of 784 bytes each",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/InferRequest"},
                    "example": example_request(),
                },
                "application/octet-stream": _BINARY,
            },
        },
    },
}


@thin.post("/models/{model}/infer", **_INFER)
@thin.post("/models/{model}/versions/{version}/infer", **_INFER)
async def infer(call: Call) -> Response:
    """Runs the model on prepared digits, (n, 1, 28, 28), bright ink on black."""
    shared = call.shared
    predictor = shared.named(**call.path_params)
    manifest = predictor.engine.manifest
    fields = call.fields
    body = await call.body()
    if b"content-encoding" in fields:
        compressed = fields[b"content-encoding"].decode("latin-1")
        limit = min(shared.settings.max_body, longest_request(shared.settings.max_images))
        body = await run_in_threadpool(decompress, body, compressed, limit)
    inference = decode(body, _header_length(fields), manifest, shared.settings.max_images)
    if inference.selection.layers:  # which take long, where a prediction is only ever late in the queue
        call.hurry(inference.timeout)
    values = await execute(inference, predictor, call.gone)
    if inference.selection.layers:  # thousands of numbers an image
        return await run_in_threadpool(lambda: _answer(encode(inference, values, manifest), fields))
    return _answer(encode(inference, values, manifest), fields)


def infer_reader(head: Head) -> Reader | None:
    """The reader of inference requests that are not compressed.

    Raises:
        UnknownError: the path names another model.
        MalformedError: the head has no length where it is to have one.
    """
    fields = head.fields
    predictor, max_images = head.shared.named(**head.parameters), head.shared.settings.max_images
    header_length, manifest = _header_length(fields), predictor.engine.manifest

    def read(body: bytes) -> Work | None:
        inference = decode(body, header_length, manifest, max_images)
        if inference.selection.layers:
            return None

        def answer(prediction: Prediction) -> Answer:
            return _answer(encode_prediction(inference, prediction, manifest), fields)

        return Work(predictor, inference.pixels, answer, inference.timeout)

    return read if b"content-encoding" not in fields else None


def _answer(encoded: tuple[bytes, int | None], fields: Mapping[bytes, bytes]) -> Answer:
    content, length = encoded
    headers: tuple[Header, ...] = (JSON,) if length is None else _binary(length)
    if len(content) >= WORTHWHILE:
        headers = (*headers, (b"vary", b"accept-encoding"))
        content, encoding = compress(content, fields.get(b"accept-encoding", b"").decode("latin-1"))
        if encoding is not None:
            headers = (*headers, (b"content-encoding", encoding))
    return Answer(content, headers)


@lru_cache(maxsize=64)  # there are few lengths, and most answers have one that is known
def _binary(length: int) -> tuple[Header, ...]:
    return (b"content-type", b"application/octet-stream"), (_HEADER_LENGTH, b"%d" % length)


def _header_length(fields: dict[bytes, bytes]) -> int | None:
    value = fields.get(_HEADER_LENGTH)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 12:
        raise MalformedError("Inference-Header-Content-Length is to be a number of bytes")
    return int(value)
