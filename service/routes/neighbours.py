"""`POST /v1/neighbours`, `GET /v1/model/layers/{layer}/exemplars`: training digits that the network finds alike."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.call import Call
from service.errors import MalformedError
from service.image import as_images
from service.inside.index import EXEMPLARS, index_file
from service.inside.layers import layer_named
from service.inside.similarity import as_json
from service.intake import REQUEST_BODY, read_digit
from service.routes.headers import model_headers
from service.routes.predict import ERRORS, PreprocessQuery
from service.routes.unchanged import entity_tag, is_known
from service.schemas.neighbours import ExemplarsAnswer, NeighboursAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])


@router.post(
    "/v1/neighbours",
    summary="Finds the training digits most similar to a picture",
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
    manifest = predictor.engine.manifest
    entry = index_file(manifest)  # refused before a picture is read
    call = Call.of(request, state)
    image = as_images(await read_digit(call, preprocess, predictor, state.settings))

    def content() -> bytes:
        found = predictor.similarity.neighbours(image, count)
        return to_json(
            {
                "model": predictor.model_name,
                "layer": entry.layer,
                "metric": entry.metric,
                "digit": found.digit,
                "agreement": found.agreement,
                "neighbours": [as_json(neighbour) for neighbour in found.neighbours],
            }
        )

    body = await predictor.look(content, gone=call.gone)
    return Response(body, media_type="application/json", headers=model_headers(manifest))


@router.get(
    "/v1/model/layers/{layer}/exemplars",
    summary="Finds the training digits that excite a channel most",
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
    if is_known(", ".join(request.headers.getlist("If-None-Match")), tag):
        return Response(status_code=304, headers=headers)

    def content() -> bytes:
        found = predictor.similarity.exemplars(chosen, channel, count)
        return to_json(
            {
                "model": predictor.model_name,
                "layer": chosen.name,
                "channel": channel,
                "exemplars": [as_json(exemplar) for exemplar in found],
            }
        )

    body = await predictor.look(content)
    return Response(body, media_type="application/json", headers=model_headers(manifest) | headers)
