"""The forms of an answer that is a picture or numbers, as the caller asks for them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from fastapi.params import Query as QueryParameter
from starlette.requests import Request
from starlette.responses import Response

from service.accept import preferred
from service.painting.drawing import Drawing
from service.painting.png import as_png
from service.painting.svg import as_svg

Form = Literal["png", "svg", "json", "npy", "npz"]
Offered = TypeVar("Offered", bound=Form)

MEDIA_TYPES: dict[Form, str] = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
    "npy": "application/x-npy",
    "npz": "application/x-npz",
}
PAINTERS: dict[Form, Callable[[Drawing], bytes]] = {"png": as_png, "svg": as_svg}
"""The forms that are pictures."""
ChannelsQuery = Annotated[
    list[str] | None,
    Query(description="of each layer the channels, or of a linear one the values: 0,3,5-7 (default all)"),
]


class Forms(Generic[Offered]):
    """The forms that a route answers in."""

    def __init__(self, usual: Offered, *others: Offered) -> None:
        """`usual` is the one for whoever does not say."""
        self._usual = usual
        self._types = {form: MEDIA_TYPES[form] for form in (usual, *others)}

    @property
    def query(self) -> QueryParameter:
        """The parameter that asks for one."""
        return Query(description=f"of the answer; without it the Accept header decides, and else it is {self._usual}")  # type: ignore[no-any-return]  # FastAPI says that a parameter may be anything

    @property
    def content(self) -> dict[str, Any]:
        """What OpenAPI says of them, but for JSON, which has a model of its own."""
        binary = {"schema": {"type": "string", "format": "binary"}}
        return {media_type: binary for form, media_type in self._types.items() if form != "json"}

    def chosen(self, request: Request, asked: Offered | None) -> Offered:
        """The form of an answer: what the query asks for, else what the Accept header prefers, else the usual one."""
        return asked or preferred(request.headers.get("Accept", ""), self._types, self._usual)


def answer(content: bytes, form: Form, headers: Mapping[str, str]) -> Response:
    """An answer in a form that was chosen so, of which caches are told."""
    return Response(content, media_type=MEDIA_TYPES[form], headers={**headers, "Vary": "Accept"})
