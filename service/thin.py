"""Routes that FastAPI documents and stays out of the way of.

FastAPI's matching, dependencies and validation took 138 µs of a request, more than the network itself; a thin route's
function takes the call and answers it. A `Shortcut` beneath the application leads to it past routing and middleware.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.call import Call
from service.errors import DigitscopeError
from service.refusal import refusal
from service.state import State

Endpoint = Callable[[Call], Awaitable[Response]]


class ThinRoute(APIRoute):
    """A route whose function reads the call by itself; what it takes is documented by `openapi_extra`."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's hook for routes of one's own."""
        endpoint: Endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            return await endpoint(Call(request.scope, request.receive, request.app.state.digitscope))

        return handle


class Destination(NamedTuple):
    """A thin route, and the parameters that its template finds in the path."""

    route: ThinRoute
    parameters: dict[str, str]


class Shortcut:
    """Leads POST requests for a few exact paths straight to their thin routes, and all others on.

    Attributes:
        destinations: those paths.
    """

    def __init__(self, app: ASGIApp, shared: State) -> None:
        self._app = app
        self._shared = shared
        self.destinations: dict[str, Destination] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        found = self.destinations.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = found
        try:
            answer = await found.route.endpoint(Call(scope, receive, self._shared))
        except DigitscopeError as error:
            answer = refusal(error, self._shared.metrics)
        await answer(scope, receive, send)
