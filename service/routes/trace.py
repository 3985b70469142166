"""`POST /v1/trace`: why a value of the network is what it is."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.call import Call
from service.image import as_images
from service.inside.terms import choose_place
from service.inside.trace import as_json, trace_value
from service.intake import REQUEST_BODY, read_digit
from service.routes.headers import model_headers
from service.routes.predict import ERRORS, PreprocessQuery
from service.schemas.trace import TraceAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])


@router.post(
    "/v1/trace",
    summary="Writes out the arithmetic behind one value",
    response_class=Response,
    responses=ERRORS | {200: {"model": TraceAnswer, "description": "The value and its terms"}},
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def trace(
    request: Request,
    state: SharedState,
    predictor: SharedPredictor,
    layer: Annotated[
        str,
        Query(
            description="conv1, relu1, pool1, conv2, relu2, pool2, fc1, fc1_relu or logits",
            examples=["conv2"],
        ),
    ],
    channel: Annotated[int, Query(description="or unit, from 0", examples=[5])],
    y: Annotated[int | None, Query(description="the row from 0, of a layer that has rows", examples=[7])] = None,
    x: Annotated[int | None, Query(description="the column from 0, of a layer that has columns", examples=[3])] = None,
    terms: Annotated[
        int | None,
        Query(ge=1, description="how many, the largest first (all, in their order; of linear layers the 24 largest)"),
    ] = None,
    follow: Annotated[bool, Query(description="answer also with the value as a function of the pixels")] = False,
    preprocess: PreprocessQuery = "mnist",
) -> Response:
    """Writes out the arithmetic behind one value of one layer, for one picture.

    The value is the bias and a sum of weights times inputs, of which those beyond the border are 0. Of a maximum the
    input that is taken has the weight 1, and of a ReLU the input that passes. After folding, `conv1` and `conv2` mean
    convolution and BatchNorm together.
    """
    engine = predictor.engine
    place = choose_place(engine.manifest, layer, channel, y, x)
    call = Call.of(request, state)
    image = as_images(await read_digit(call, preprocess, predictor, state.settings))

    def content() -> bytes:
        traced = trace_value(predictor.probe, image, place, follow=follow)
        return to_json({"model": predictor.model_name, **as_json(traced, engine.parameters, terms)})

    body = await predictor.look(content, gone=call.gone)
    return Response(body, media_type="application/json", headers=model_headers(engine.manifest))
