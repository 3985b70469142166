"""`POST /v1/ablate`: the answer without some channels."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.call import Call
from service.image import as_images
from service.inside.ablation import ablate, as_json, choose_layer, choose_silenced
from service.intake import REQUEST_BODY, read_digit
from service.routes.headers import model_headers
from service.routes.predict import ERRORS, PreprocessQuery
from service.schemas.attribution import AblationAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])


@router.post(
    "/v1/ablate",
    summary="Tells the answer without some channels",
    response_class=Response,
    responses=ERRORS | {200: {"model": AblationAnswer, "description": "The answers with and without the channels"}},
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def ablation(
    request: Request,
    state: SharedState,
    predictor: SharedPredictor,
    layer: Annotated[
        str | None,
        Query(description="conv1, relu1, pool1, conv2, relu2, pool2, fc1 or fc1_relu (default the last convolution)"),
    ] = None,
    channels: Annotated[
        list[str] | None,
        Query(description="to silence together, such as 0,3,5-7; without it, each channel of the layer in turn, alone"),
    ] = None,
    preprocess: PreprocessQuery = "mnist",
) -> Response:
    """Silences channels of a layer, or units of a linear one, and tells what the network answers then.

    To silence is to set a channel's values to zero, everywhere in its map. Of a layer before its ReLU it is the sum
    with its bias (and BatchNorm, which is folded in) that becomes zero, and passes the ReLU as zero; so silencing
    conv1, relu1 or pool1 comes to the same.
    """
    manifest = predictor.engine.manifest
    chosen = choose_layer(manifest, layer)
    choices = choose_silenced(chosen, channels or [])
    call = Call.of(request, state)
    image = as_images(await read_digit(call, preprocess, predictor, state.settings))

    def content() -> bytes:
        found = ablate(predictor.probe, image, chosen, choices)
        return to_json({"model": predictor.model_name, "layer": chosen.name, **as_json(*found)})

    body = await predictor.look(content, gone=call.gone)
    return Response(body, media_type="application/json", headers=model_headers(manifest))
