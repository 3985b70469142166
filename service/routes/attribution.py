"""`POST /v1/attribution`: which pixels an answer rests on."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.accept import preferred
from service.answer import to_json
from service.call import Call
from service.encoding import to_npy
from service.engine import Activations, Images
from service.errors import MalformedError
from service.image import as_images
from service.inside.attribution import LARGEST_SQUARE, SQUARE, UNITS, Attribution, Method, attribute, choose_maps
from service.inside.faithfulness import Faithfulness, measure
from service.inside.probe import Probe
from service.intake import REQUEST_BODY, read_digit
from service.painting.overlay import draw_overlay
from service.routes.headers import model_headers
from service.routes.predict import ERRORS, PreprocessQuery
from service.schemas.attribution import AttributionAnswer, AttributionsAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])

Digit = Literal["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "all"]
Format = Literal["json", "png", "npy"]
MEDIA_TYPES: dict[Format, str] = {"json": "application/json", "png": "image/png", "npy": "application/x-npy"}


@router.post(
    "/v1/attribution",
    response_class=Response,
    responses=ERRORS
    | {
        200: {
            "model": AttributionAnswer | AttributionsAnswer,
            "description": "The map of one digit, or with digit=all those of all ten",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for name, media_type in MEDIA_TYPES.items()
                if name != "json"
            },
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
        bool, Query(description="also the deletion and insertion curves in JSON, and their areas in a PNG of one map")
    ] = True,
    format: Annotated[  # noqa: A002 — the name in the query
        Format | None, Query(description="of the answer; without it the Accept header decides, and else it is json")
    ] = None,
    preprocess: PreprocessQuery = "mnist",
) -> Response:
    """Shows which of the pixels support a digit (positive) and which speak against it, by the network that serves.

    `saliency` is the derivative of the digit's logit by each pixel, `contributions` that times the pixel, which adds up
    to the logit with an offset, `gradcam` (Grad-CAM, kept signed) the maps of a layer weighted by the logit's mean
    derivative, and `occlusion` the fall of the logit when a black square covers the pixel. NPY is float32 (28, 28), or
    (10, 28, 28).
    """
    engine = predictor.engine
    chosen = format or preferred(request.headers.get("Accept", ""), MEDIA_TYPES, "json")
    if layer is not None and method != "gradcam":
        raise MalformedError(f"layer: it is for method=gradcam, and the method is {method}")
    if size is not None and method != "occlusion":
        raise MalformedError(f"size: it is for method=occlusion, and the method is {method}")
    maps = choose_maps(engine.manifest, layer) if method == "gradcam" else None
    call = Call.of(request, state)
    image = as_images(await read_digit(call, preprocess, predictor, state.settings))

    def work() -> bytes:
        probe = predictor.probe
        guess = _guess(probe, image)
        digits = range(10) if digit == "all" else [guess["digit"] if digit is None else int(digit)]
        found = attribute(probe, image, method, digits, maps=maps, size=size or SQUARE)
        if chosen == "npy":
            return _as_npy(found)
        measured: dict[int, Faithfulness] = {}
        if faithfulness and (chosen == "json" or len(found) == 1):
            measured = measure(probe, image, {each.digit: each.map for each in found})
        if chosen == "png":
            return _as_png(image, method, found, measured, guess)
        return to_json({"model": predictor.model_name, **_as_json(method, found, measured, guess)})

    content = await predictor.look(work, gone=call.gone)
    headers = {} if chosen == "json" else model_headers(engine.manifest)
    return Response(content, media_type=MEDIA_TYPES[chosen], headers=headers)


def _guess(probe: Probe, image: Images) -> dict[str, Any]:
    _, (probabilities,) = probe.answer(image)
    return {"digit": int(probabilities.argmax()), "confidence": probabilities.max()}


def _as_npy(found: Sequence[Attribution]) -> bytes:
    maps: Activations = np.stack([each.map for each in found])
    return to_npy(maps if len(maps) > 1 else maps[0])


def _as_json(
    method: Method, found: Sequence[Attribution], measured: dict[int, Faithfulness], guess: dict[str, Any]
) -> dict[str, Any]:
    head = {"method": method, "prediction": guess, "unit": UNITS[method]}
    digits = [
        {"digit": each.digit, "map": each.map, "bound": each.bound}
        | ({"faithfulness": asdict(measured[each.digit])} if measured else {})
        | (asdict(each.completeness) if each.completeness else {})
        for each in found
    ]
    return head | (digits[0] if len(digits) == 1 else {"digits": digits})


def _as_png(
    image: Images,
    method: Method,
    found: Sequence[Attribution],
    measured: dict[int, Faithfulness],
    guess: dict[str, Any],
) -> bytes:
    bound = max(each.bound for each in found)
    whose = str(found[0].digit) if len(found) == 1 else "each digit"
    lines = [f"the network reads {guess['digit']} with {guess['confidence']:.1%}; the scale is in {UNITS[method]}"]
    if measured:
        deletion, insertion = measured[found[0].digit].deletion, measured[found[0].digit].insertion
        lines += [
            f"deletion {deletion.area:.2f} (random order {deletion.random_area:.2f}, less is better)",
            f"insertion {insertion.area:.2f} (random order {insertion.random_area:.2f}, more is better)",
        ]
    maps = {f"{each.digit}: to {each.bound:.2g}": each.map for each in found}
    return draw_overlay(
        image[0, 0],
        maps,
        f"{method} for {whose}",
        lines,
        (f"-{bound:.3g} against it", "0", f"supports it {bound:.3g}"),
    )
