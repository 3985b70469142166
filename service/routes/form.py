"""The forms of an answer that is a picture or numbers, as the caller asks for them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.requests import Request

from service.accept import preferred
from service.painting.drawing import Drawing
from service.painting.png import as_png
from service.painting.svg import as_svg

Form = Literal["png", "svg", "json", "npy", "npz"]
MEDIA_TYPES: dict[Form, str] = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
    "npy": "application/x-npy",
    "npz": "application/x-npz",
}
PAINTERS: dict[Form, Callable[[Drawing], bytes]] = {"png": as_png, "svg": as_svg}
"""The forms that are pictures."""
CONTENT: dict[str, Any] = {
    media_type: {"schema": {"type": "string", "format": "binary"}}
    for form, media_type in MEDIA_TYPES.items()
    if form != "json"
}
"""What OpenAPI says of the forms, but for JSON, which has a model of its own."""
FormQuery = Annotated[
    Form | None, Query(description="of the answer; without it the Accept header decides, and else it is png")
]
ChannelsQuery = Annotated[
    list[str] | None,
    Query(description="of each layer the channels, or of a linear one the values: 0,3,5-7 (default all)"),
]


def chosen_form(request: Request, asked: Form | None) -> Form:
    """The form of the answer: what the query asks for, else what the Accept header prefers, else PNG."""
    return asked or preferred(request.headers.get("Accept", ""), MEDIA_TYPES, "png")
