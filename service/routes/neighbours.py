"""`POST /v1/neighbours`, `GET /v1/model/layers/{layer}/exemplars`: training digits that the network finds alike."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.call import Call
from service.encoding import to_png, to_url
from service.errors import MalformedError
from service.image import as_images
from service.inside.index import EXEMPLARS, index_file
from service.inside.layers import layer_named
from service.inside.similarity import TrainingDigit
from service.intake import REQUEST_BODY, read_digit
from service.layer import Layer
from service.predictor import Predictor
from service.routes.predict import ERRORS, PreprocessQuery
from service.routes.unchanged import entity_tag, is_known
from service.schemas.neighbours import ExemplarsAnswer, NeighboursAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])


@router.post(
    "/v1/neighbours",
    response_class=Response,
    responses=ERRORS | {200: {"model": NeighboursAnswer, "description": "The nearest training digits"}},
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def neighbours(
    request: Request,
    state: SharedState,
    predictor: SharedPredictor,
    count: Annotated[int, Query(ge=1, le=50, description="how many")] = 10,
    preprocess: PreprocessQuery = "mnist",
) -> Response:
    """Finds the training digits that the network takes for the most similar to a picture.

    They are near by the values of a layer, of which every prototype is compared: some thousand training digits that
    were chosen to stand for all. Each is with its label and its place in MNIST's training set, counted from 0.
    """
    index_file(predictor.engine.manifest)  # refused before a picture is read
    call = Call.of(request, state)
    pixels = await read_digit(call, preprocess, predictor, state.settings)
    return Response(
        await predictor.look(lambda: _neighbours(predictor, pixels, count), gone=call.gone),
        media_type="application/json",
    )


@router.get(
    "/v1/model/layers/{layer}/exemplars",
    response_class=Response,
    responses=ERRORS
    | {
        200: {"model": ExemplarsAnswer, "description": "The training digits that excite the channel most"},
        304: {"description": "They are still those of the ETag that was sent"},
    },
)
async def exemplars(
    request: Request,
    predictor: SharedPredictor,
    layer: Annotated[str, Path(description="such as conv2 or fc1_relu")],
    channel: Annotated[int, Query(ge=0, description="or the unit of a linear layer, from 0")] = 0,
    count: Annotated[int, Query(ge=1, le=EXEMPLARS, description="how many")] = EXEMPLARS,
) -> Response:
    """Finds the training digits that excite a channel of a layer most, and where in each of them it is excited.

    All digits that trained the network were asked when it was made. The values are of the network that serves.
    """
    manifest = predictor.engine.manifest
    chosen = layer_named(manifest, layer, manifest.features, "is the answer itself and has no exemplars")
    if channel >= chosen.shape[0]:
        raise MalformedError(f"channel: {chosen.name} has 0 to {chosen.shape[0] - 1}")
    tag = entity_tag(
        manifest.sha256, index_file(manifest).sha256, predictor.engine.provider, chosen.name, channel, count
    )
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # kept, but asked for each time: another model may come
    if is_known(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    content = await predictor.look(lambda: _exemplars(predictor, chosen, channel, count))
    return Response(content, media_type="application/json", headers=headers)


def _neighbours(predictor: Predictor, pixels: bytes, count: int) -> bytes:
    digit, found = predictor.similarity.neighbours(as_images(pixels), count)
    entry = index_file(predictor.engine.manifest)
    return to_json(
        {
            "model": predictor.model_name,
            "layer": entry.layer,
            "metric": entry.metric,
            "digit": digit,
            "agreement": sum(neighbour.label == digit for neighbour in found) / len(found),
            "neighbours": [_shown(neighbour) for neighbour in found],
        }
    )


def _exemplars(predictor: Predictor, layer: Layer, channel: int, count: int) -> bytes:
    found = predictor.similarity.exemplars(layer, channel, count)
    return to_json(
        {
            "model": predictor.model_name,
            "layer": layer.name,
            "channel": channel,
            "exemplars": [_shown(exemplar) for exemplar in found],
        }
    )


def _shown(digit: TrainingDigit) -> dict[str, Any]:
    facts = dict(vars(digit))
    image = facts.pop("image")
    return facts | {"image": to_url(to_png(image))}
