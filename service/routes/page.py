"""`GET /`: the page, and `GET /docs`: the API's reference. Both load nothing from anywhere else."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from service.answer import json_answer
from service.painting.colour import DIVERGING, SEQUENTIAL

WEB = Path(__file__).parent.parent / "web"

router = APIRouter(include_in_schema=False)

_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Swagger UI sets styles on the elements that it makes.
_DOCS_POLICY = f"{_POLICY}; style-src 'self' 'unsafe-inline'"


@router.api_route("/", methods=["GET", "HEAD"])
async def page() -> Response:
    """The page that takes a drawn or dropped digit."""
    return FileResponse(WEB / "index.html", headers={**_HEADERS, "Content-Security-Policy": _POLICY})


@router.get("/palettes.json")
async def palettes() -> Response:
    """The colours of feature maps, each [red, green, blue]: the page paints with those of the service's pictures."""
    return json_answer({"sequential": SEQUENTIAL, "diverging": DIVERGING})


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs() -> Response:
    """The reference of the API, by Swagger UI."""
    return FileResponse(WEB / "docs.html", headers={**_HEADERS, "Content-Security-Policy": _DOCS_POLICY})
