"""`POST /v1/features`: a picture in, what each layer makes of it out."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.accept import preferred
from service.answer import to_json
from service.call import Call
from service.errors import MalformedError
from service.features import Scale, as_json, as_npy, as_npz, choose_layers
from service.image import PIXELS
from service.intake import REQUEST_BODY, read_digits
from service.routes.predict import ERRORS, PreprocessQuery
from service.schemas import FeaturesAnswer
from service.sheet import draw_sheet
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])

Format = Literal["png", "json", "npy", "npz"]
MEDIA_TYPES: dict[Format, str] = {
    "png": "image/png",
    "json": "application/json",
    "npy": "application/x-npy",
    "npz": "application/x-npz",
}


@router.post(
    "/v1/features",
    response_class=Response,
    responses=ERRORS
    | {
        200: {
            "model": FeaturesAnswer,
            "description": "The feature maps",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for name, media_type in MEDIA_TYPES.items()
                if name != "json"
            },
        }
    },
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def features(
    request: Request,
    state: SharedState,
    predictor: SharedPredictor,
    layer: Annotated[
        list[str] | None,
        Query(description="conv1, relu1, pool1, conv2, relu2, pool2, fc1, fc1_relu; several, or all (default conv1)"),
    ] = None,
    format: Annotated[  # noqa: A002 — the name in the query
        Format | None, Query(description="of the answer; without it the Accept header decides, and else it is png")
    ] = None,
    scale: Annotated[Scale, Query(description="a png's colours span each map's values, a layer's, or all")] = "layer",
    preprocess: PreprocessQuery = "mnist",
) -> Response:
    """Shows the feature maps of the network that serves, computed from its very ONNX file.

    After folding, `conv1` and `conv2` mean convolution and BatchNorm together. Signed layers have diverging colours
    with zero near white, the others run from dark (zero) to light. PNG shows one picture; JSON, NPY (one layer) and
    NPZ hold float32 values of several, (pictures, channels, height, width) or (pictures, values).
    """
    layers = choose_layers(predictor.engine.manifest, layer or ["conv1"])
    chosen = format or preferred(request.headers.get("Accept", ""), MEDIA_TYPES, "png")
    pixels, _ = await read_digits(Call.of(request, state), preprocess, predictor, state.settings)
    if chosen == "png" and len(pixels) != PIXELS:
        raise MalformedError(
            f"a PNG shows one picture, and {len(pixels) // PIXELS} were sent; format=json or npz holds several"
        )
    if chosen == "npy" and len(layers) != 1:
        raise MalformedError(f"NPY holds one layer, and {len(layers)} are asked for; format=npz holds several")
    activations = await predictor.inspect(pixels, [layer.name for layer in layers])
    if chosen == "png":
        single = {name: values[0] for name, values in activations.items()}
        content = await run_in_threadpool(draw_sheet, layers, single, scale)
    elif chosen == "json":
        answer = {"model": predictor.model_name, "layers": as_json(layers, activations)}
        content = await run_in_threadpool(to_json, answer)
    else:
        content = await run_in_threadpool(as_npy if chosen == "npy" else as_npz, activations)
    return Response(content, media_type=MEDIA_TYPES[chosen])
