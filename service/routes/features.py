"""`POST /v1/features`: a picture in, what each layer makes of it out."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import to_json
from service.call import Call
from service.encoding import to_npy, to_npz
from service.errors import MalformedError
from service.image import PIXELS, as_images
from service.inside.channels import as_text
from service.inside.features import Choice, Scale, as_json, choose
from service.intake import REQUEST_BODY, read_digits
from service.painting.feature_sheet import draw_features
from service.routes.form import PAINTERS, ChannelsQuery, Form, Forms, answer
from service.routes.headers import model_headers
from service.routes.predict import ERRORS, PreprocessQuery
from service.schemas.features import FeaturesAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])

FORMS = Forms[Form]("png", "svg", "json", "npy", "npz")


@router.post(
    "/v1/features",
    summary="Shows what each layer makes of pictures",
    response_class=Response,
    responses=ERRORS | {200: {"model": FeaturesAnswer, "description": "The feature maps", "content": FORMS.content}},
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
    channels: ChannelsQuery = None,
    format: Annotated[Form | None, FORMS.query] = None,  # noqa: A002 — the name in the query
    scale: Annotated[
        Scale, Query(description="a picture's colours span each map's values, a layer's, or those of all its layers")
    ] = "layer",
    values: Annotated[bool, Query(description="whether JSON has values beside the statistics")] = True,
    preprocess: PreprocessQuery = "mnist",
) -> Response:
    """Shows the feature maps of the network that serves, computed from its very ONNX file.

    After folding, `conv1` and `conv2` mean convolution and BatchNorm together. Signed layers have diverging colours
    with zero near white, the others run from dark (zero) to light; with scale=layer and scale=all the colours are
    those of whole layers, whichever channels are shown. PNG and SVG show one picture; JSON, NPY (one layer) and NPZ
    hold float32 values of several, (pictures, channels, height, width) or (pictures, values).

    JSON has the statistics of each channel too. A channel is `dead` on a picture where none of its values is above
    zero, so that its ReLU passes nothing, and `saturated` where all of them are, so that its ReLU cuts nothing and
    the unit is merely linear. Both are null for a linear layer, whose units have one value each and would be either.

    The headers X-Digitscope-Model, -SHA256, -Layers, -Channels and -Scale say which model answered, the shape of each
    layer in the answer, which channels that are, and over what its colours span; numbers are never scaled.
    """
    manifest = predictor.engine.manifest
    choices = choose(manifest, layer or ["conv1"], channels or [])
    form = FORMS.chosen(request, format)
    call = Call.of(request, state)
    predictor.check_looking()
    pixels, _ = await read_digits(call, preprocess, predictor, state.settings)
    _check(form, len(pixels) // PIXELS, len(choices))

    def content() -> bytes:
        activations = predictor.engine.inspect(as_images(pixels), [choice.layer.name for choice in choices])
        if form in PAINTERS:
            single = {name: values[0] for name, values in activations.items()}
            return PAINTERS[form](draw_features(choices, single, scale))
        if form == "json":
            return to_json({"model": predictor.model_name, "layers": as_json(choices, activations, values=values)})
        chosen = {choice.layer.name: choice.of(activations[choice.layer.name]) for choice in choices}
        return to_npz(chosen) if form == "npz" else to_npy(*chosen.values())

    headers = model_headers(manifest) | {
        "X-Digitscope-Layers": ", ".join(map(_shape, choices)),
        "X-Digitscope-Channels": as_text(choices[0].channels) if channels else "all",
        "X-Digitscope-Scale": scale if form in PAINTERS else "none",
    }
    return answer(await predictor.look(content, gone=call.gone), form, headers)


def _check(form: Form, pictures: int, layers: int) -> None:
    if form in PAINTERS and pictures != 1:
        article = "an" if form == "svg" else "a"
        raise MalformedError(
            f"{article} {form.upper()} shows one picture, and {pictures} were sent; format=json or npz holds several"
        )
    if form == "npy" and layers != 1:
        raise MalformedError(f"NPY holds one layer, and {layers} are asked for; format=npz holds several")


def _shape(choice: Choice) -> str:
    return f"{choice.layer.name}={'x'.join(map(str, choice.shape))}"
