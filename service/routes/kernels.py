"""`GET /v1/model/layers/{layer}/kernels`: the weights of the network that serves."""

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.encoding import to_npy, to_npz
from service.inside.channels import as_text
from service.inside.kernels import as_json, choose_kernels
from service.painting.kernel_sheet import check_drawable, draw_kernels
from service.routes.form import PAINTERS, ChannelsQuery, Form, Forms, answer
from service.routes.headers import model_headers
from service.routes.predict import ERRORS
from service.routes.unchanged import entity_tag, is_known
from service.schemas.features import KernelsAnswer
from service.state import SharedPredictor

router = APIRouter(tags=["digitscope"])

FORMS = Forms[Form]("png", "svg", "json", "npy", "npz")


@router.get(
    "/v1/model/layers/{layer}/kernels",
    summary="Shows the weights of a layer",
    response_class=Response,
    responses=ERRORS
    | {
        200: {"model": KernelsAnswer, "description": "The weights", "content": FORMS.content},
        304: {"description": "They are those whose ETag If-None-Match names"},
    },
)
async def kernels(
    request: Request,
    predictor: SharedPredictor,
    layer: str,
    channels: ChannelsQuery = None,
    format: Annotated[Form | None, FORMS.query] = None,  # noqa: A002 — the name in the query
) -> Response:
    """Shows the weights of a layer that has any: conv1, conv2, fc1, logits, from the very ONNX file that serves.

    They are those after folding: BatchNorm is part of each convolution's weights and bias, and the temperature of the
    calibration of the last layer's; X-Digitscope-Folded says so too. JSON and NPZ have weights and bias, NPY weights
    alone: (outputs, inputs, height, width) of a convolution, (outputs, inputs) of a linear layer, whose inputs are the
    values of the layer before, channel by channel and row by row. PNG and SVG draw each kernel in colours that span
    the layer's weights, zero near white; of a linear layer they hold ten units at most.
    """
    engine = predictor.engine
    chosen = choose_kernels(engine.manifest, layer, channels or [])
    form = FORMS.chosen(request, format)
    if form in PAINTERS:
        check_drawable(chosen)
    shown = as_text(chosen.channels)
    tag = entity_tag(engine.manifest.sha256, layer, shown, form)
    caching = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept"}  # asked again, as a model may be replaced
    if is_known(", ".join(request.headers.getlist("If-None-Match")), tag):
        return Response(status_code=304, headers=caching)

    def content() -> bytes:
        if form in PAINTERS:
            return PAINTERS[form](draw_kernels(chosen, engine.parameters))
        if form == "json":
            return to_json({"model": predictor.model_name, **as_json(chosen, engine.parameters)})
        arrays = chosen.of(engine.parameters)
        return to_npz(arrays) if form == "npz" else to_npy(arrays["weight"])

    headers = model_headers(engine.manifest) | {
        "X-Digitscope-Layers": f"{layer}={'x'.join(map(str, chosen.shape))}",
        "X-Digitscope-Channels": shown if channels else "all",
        "X-Digitscope-Folded": chosen.folded or "none",
    }
    return answer(await predictor.look(content), form, headers | caching)
