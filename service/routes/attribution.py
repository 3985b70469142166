"""`POST /v1/attribution`: which pixels an answer rests on."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.call import Call
from service.encoding import to_npy
from service.errors import MalformedError
from service.image import as_images
from service.inside.attribution import LARGEST_SQUARE, SQUARE, Method, choose_maps
from service.inside.explanation import as_json, explain
from service.intake import REQUEST_BODY, read_digit
from service.painting.attribution_sheet import draw_attribution
from service.routes.form import PAINTERS, Forms, answer
from service.routes.headers import model_headers
from service.routes.predict import ERRORS, PreprocessQuery
from service.schemas.attribution import AttributionAnswer, AttributionsAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])

Digit = Literal["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "all"]
Form = Literal["json", "png", "svg", "npy"]
FORMS = Forms[Form]("json", "png", "svg", "npy")


@router.post(
    "/v1/attribution",
    summary="Shows which pixels an answer rests on",
    response_class=Response,
    responses=ERRORS
    | {
        200: {
            "model": AttributionAnswer | AttributionsAnswer,
            "description": "The map of one digit, or with digit=all those of all ten",
            "content": FORMS.content,
        }
    },
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def attribution(
    request: Request,
    state: SharedState,
    predictor: SharedPredictor,
    method: Annotated[Method, Query(description="how the map is made")] = "occlusion",
    digit: Annotated[Digit | None, Query(description="whose logit it is of, or all; by default the best guess")] = None,
    layer: Annotated[
        str | None, Query(description="of gradcam: conv1, relu1, pool1, conv2, relu2 or pool2 (default relu2)")
    ] = None,
    size: Annotated[
        int | None,
        Query(ge=1, le=LARGEST_SQUARE, description=f"of occlusion: pixels of the square's side (default {SQUARE})"),
    ] = None,
    faithfulness: Annotated[
        bool,
        Query(description="also the deletion and insertion curves in JSON, and their areas in a picture of one map"),
    ] = True,
    format: Annotated[Form | None, FORMS.query] = None,  # noqa: A002 — the name in the query
    preprocess: PreprocessQuery = "mnist",
) -> Response:
    """Shows which of the pixels support a digit (positive) and which speak against it, by the network that serves.

    `saliency` is the derivative of the digit's logit by each pixel, `contributions` that times the pixel, which adds up
    to the logit with an offset, `gradcam` (Grad-CAM, kept signed) the maps of a layer weighted by the logit's mean
    derivative, and `occlusion` the fall of the logit when a black square covers the pixel. NPY is float32 (28, 28), or
    (10, 28, 28).
    """
    manifest = predictor.engine.manifest
    form = FORMS.chosen(request, format)
    if layer is not None and method != "gradcam":
        raise MalformedError(f"layer: it is for method=gradcam, and the method is {method}")
    if size is not None and method != "occlusion":
        raise MalformedError(f"size: it is for method=occlusion, and the method is {method}")
    maps = choose_maps(manifest, layer) if method == "gradcam" else None
    digits = () if digit is None else range(10) if digit == "all" else (int(digit),)
    measured = faithfulness and (form == "json" or (form in PAINTERS and digit != "all"))
    call = Call.of(request, state)
    image = as_images(await read_digit(call, preprocess, predictor, state.settings))

    def content() -> bytes:
        found = explain(predictor.probe, image, method, digits, maps=maps, size=size or SQUARE, faithfulness=measured)
        if form in PAINTERS:
            return PAINTERS[form](draw_attribution(image[0, 0], found))
        return to_npy(found.maps) if form == "npy" else to_json({"model": predictor.model_name, **as_json(found)})

    return answer(await predictor.look(content, gone=call.gone), form, model_headers(manifest))
