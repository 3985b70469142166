"""`POST /v1/operators`: a picture in, what one building block of a network makes of it out; and which there are."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import json_answer, to_json
from service.call import Call
from service.image import decode, open_picture
from service.intake import PICTURE_BODY, read_file
from service.layer import Padding
from service.luminance import luminance
from service.operators.appearance import SHOWS, Show
from service.operators.catalogue import catalogue, choose_operation
from service.operators.kernel import LARGEST, NAMED
from service.operators.operation import MOST_PIXELS, Operator
from service.operators.outcome import Outcome
from service.routes.form import Forms, answer
from service.routes.predict import ERRORS
from service.schemas.operators import OperatorAnswer, OperatorsAnswer
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])

Form = Literal["png", "json", "npy"]
FORMS = Forms[Form]("png", "json", "npy")


@router.get(
    "/v1/operators",
    summary="Lists the operators and the named kernels",
    response_class=Response,
    responses=ERRORS | {200: {"model": OperatorsAnswer, "description": "The operators"}},
)
async def operators() -> Response:
    """Lists the operators with what they take, the named kernels with their numbers, and the limits."""
    return json_answer(catalogue())


@router.post(
    "/v1/operators",
    summary="Applies one operator to a picture",
    response_class=Response,
    responses=ERRORS
    | {
        200: {
            "model": OperatorAnswer,
            "description": "What the operator makes of the picture",
            "content": FORMS.content,
        }
    },
    openapi_extra={"requestBody": PICTURE_BODY},
)
async def operate(
    request: Request,
    state: SharedState,
    predictor: SharedPredictor,
    operator: Annotated[Operator, Query(description="what is done; GET /v1/operators describes each")] = (
        "cross-correlation"
    ),
    kernel: Annotated[
        str | None,
        Query(
            description=f"{', '.join(NAMED)}; or one's own, rows by semicolons and numbers by commas, at most "
            f"{LARGEST}×{LARGEST}",
            examples=["1,0,-1;2,0,-2;1,0,-1"],
        ),
    ] = None,
    size: Annotated[
        int | None, Query(ge=1, le=LARGEST, description="of a pooling's window, or of a named kernel that has sizes")
    ] = None,
    stride: Annotated[
        int | None,
        Query(
            ge=1,
            le=LARGEST,
            description="in pixels (default 1; of a transposed convolution 2, and of a pooling the window's size)",
        ),
    ] = None,
    padding: Annotated[
        Padding | None,
        Query(
            description="zeros on each side: valid none, half (F − 1)/2, full F − 1 (default valid); of a transposed "
            "convolution as much is cut off instead"
        ),
    ] = None,
    show: Annotated[
        Show | None,
        Query(description="; ".join(f"{name}: {how}" for name, how in SHOWS.items()) + " (default: what suits)"),
    ] = None,
    format: Annotated[Form | None, FORMS.query] = None,  # noqa: A002 — the name in the query
) -> Response:
    """Applies one building block of a convolutional network to any picture, by ONNX Runtime.

    The picture is taken upright in its own size, as luminance from 0 (black) to 1 (white). Cross-correlation lays the
    kernel over it as it is, which networks call convolution; convolution turns it by 180° first. PNG and JSON show the
    output as a picture of a pixel for each value; NPY has the values, float32 (height, width). The headers of PNG and
    NPY tell sizes, formulas, and the smallest and the largest value.
    """
    operation = choose_operation(operator, kernel, size, stride, padding)
    form = FORMS.chosen(request, format)
    call = Call.of(request, state)
    predictor.check_looking()
    data = await read_file(call, state.settings)
    most = min(MOST_PIXELS, state.settings.max_pixels)

    def content() -> tuple[bytes, dict[str, str]]:
        values = luminance(decode(open_picture(data, most)))
        outcome = Outcome(operation, values, operation.run(values), show)
        if form == "json":
            return to_json(outcome.facts()), {}
        return outcome.png() if form == "png" else outcome.npy(), outcome.headers()

    body, headers = await predictor.look(content, gone=call.gone)
    return answer(body, form, headers)
