"""Routes that FastAPI documents and stays out of the way of.

FastAPI's matching, dependencies and validation took 138 µs of a request, more than the network itself; a thin route's
function takes the call and answers it. A `Shortcut` beneath the application leads to it past routing and middleware.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from service.answer import Answer
from service.call import Call, Head
from service.image import Pixels
from service.prediction import Prediction
from service.predictor import Predictor
from service.rejection import Reasons

Endpoint = Callable[[Call], Awaitable[Response]]


class Work(NamedTuple):
    """What a request comes down to: digits to be run within so many seconds, and the answer that is made of them.

    `predictor` is of the version that the answer names. `reasons` are those to reject the digits that were found when
    their pictures were read.
    """

    predictor: Predictor
    pixels: Pixels
    answer: Callable[[Prediction], Answer]
    timeout: float | None = None
    reasons: Reasons = ()


Reader = Callable[[bytes], Work | None]
"""Reads the whole body of a request; None of one that takes longer than may be spent at once."""


class ThinRoute(APIRoute):
    """A route whose function reads the call by itself; what it takes is documented by `openapi_extra`."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's hook for routes of one's own."""
        endpoint: Endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            shared = request.app.state.digitscope
            return await endpoint(Call(request.scope, request.receive, shared, dict(request.scope["headers"])))

        return handle


class Destination(NamedTuple):
    """A path that leads to a thin route.

    Attributes:
        parameters: what the route's template finds in the path.
        reader: makes the reader of a request of its head; None of one that the route's function is to read. Both raise
            what that function does.
    """

    path: str
    route: ThinRoute
    parameters: dict[str, str]
    reader: Callable[[Head], Reader | None]


class Shortcut:
    """Finds the thin routes of POST requests for a few exact paths, past all routing.

    Attributes:
        destinations: those paths.
    """

    def __init__(self) -> None:
        self.destinations: dict[str, Destination] = {}

    def endpoint(self, scope: Scope) -> Endpoint | None:
        """The function that answers a request, with what routing would have added to its scope; None for others."""
        destination = self.destinations.get(scope["path"])
        if destination is None or scope["method"] != "POST":
            return None
        scope["route"], scope["path_params"] = destination.route, destination.parameters
        return cast("Endpoint", destination.route.endpoint)
