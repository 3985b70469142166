"""`POST /v1/trace`: why a value of the network is what it is."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.call import Call
from service.engine import Engine, Images
from service.image import as_images
from service.inside.trace import Behind, Place, Terms, choose_place, pixels_behind, terms_of
from service.intake import REQUEST_BODY, read_digit
from service.manifest import NORMALISED
from service.routes.predict import ERRORS, PreprocessQuery
from service.schemas.trace import TraceAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])

_LARGEST = 24  # terms of a linear layer, which has hundreds


@router.post(
    "/v1/trace",
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
    place = choose_place(predictor.engine.manifest, layer, channel, y, x)
    call = Call.of(request, state)
    pixels = await read_digit(call, preprocess, predictor, state.settings)
    image = as_images(pixels)

    def content() -> bytes:
        traced = _traced(predictor.engine, image, place, terms, follow=follow)
        return to_json({"model": predictor.model_name} | traced)

    return Response(await predictor.look(content, gone=call.gone), media_type="application/json")


def _traced(engine: Engine, image: Images, place: Place, most: int | None, *, follow: bool) -> dict[str, Any]:
    parameters = engine.parameters
    names = [layer.name for layer in engine.manifest.layers]
    values = {name: value[0] for name, value in engine.inspect(image, names).items()}
    values[NORMALISED] = (image[0].astype(np.float32) - parameters["mean"]) / parameters["std"]
    found = terms_of(place, values, parameters)
    value = values[place.layer.name][place.index]
    exact = found.bias + float(found.product.sum())
    normalisation = {name: float(parameters[name]) for name in ("mean", "std")} if place.source == NORMALISED else None
    answer = {
        "layer": place.layer.name,
        "operator": place.layer.operator,
        "channel": place.channel,
        "y": place.y,
        "x": place.x,
        "value": value,
        "exact": exact,
        "difference": float(value) - exact,
        "source": place.source,
        "normalisation": normalisation,
        "bias": found.bias,
        **_listed(found, most or (_LARGEST if place.layer.operator == "Gemm" else None)),
        "pixels": None,
    }
    if follow:
        behind = pixels_behind(place, engine.manifest, values, parameters)
        answer["pixels"] = _followed(behind, image[0, 0], float(value))
    return answer


def _listed(found: Terms, most: int | None) -> dict[str, Any]:
    """The terms one by one, and those that are left out as one sum."""
    product = found.product
    order = np.arange(len(product)) if most is None else np.argsort(-np.abs(product), kind="stable")[:most]
    running = found.bias + np.cumsum(product[order])
    columns = [
        found.channel[order].tolist(),
        [None] * len(order) if found.y is None else found.y[order].tolist(),
        [None] * len(order) if found.x is None else found.x[order].tolist(),
        found.weight[order],
        found.input[order],
        product[order].tolist(),
        found.padding[order].tolist(),
        running.tolist(),
    ]
    names = ("channel", "y", "x", "weight", "input", "product", "padding", "running")
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    left = np.delete(product, order)
    return {"terms": rows, "rest": {"terms": len(left), "sum": float(left.sum())}}


def _followed(behind: Behind, pixels: Images, value: float) -> dict[str, Any]:
    products = behind.weights * pixels
    exact = behind.offset + float(products.sum())
    return {
        "offset": behind.offset,
        "weights": behind.weights,
        "products": products,
        "exact": exact,
        "difference": value - exact,
    }
