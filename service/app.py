"""The application: one function puts settings, routes, errors and middleware together."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import service
from service.answer import json_answer
from service.control import Channel, at_first, controlled
from service.errors import DigitscopeError
from service.exchange import Exchange
from service.express import Express
from service.guard import Guard
from service.journal import Journal
from service.keyring import Keyring
from service.keys import Key
from service.lanes import SIZES
from service.listeners import is_loopback
from service.metrics import Metrics
from service.observe import BodyLimit, Observe
from service.protocol.grpc import ROUTES as GRPC_ROUTES
from service.protocol.repository import SCHEMAS as REPOSITORY_SCHEMAS
from service.protocol.repository import router as repository_router
from service.protocol.routes import REQUEST_SCHEMAS, infer_reader
from service.protocol.routes import router as protocol_router
from service.protocol.routes import thin as thin_protocol_router
from service.refusal import refusal
from service.routes.ablate import router as ablate_router
from service.routes.attribution import router as attribution_router
from service.routes.features import router as features_router
from service.routes.kernels import router as kernels_router
from service.routes.model import router as model_router
from service.routes.neighbours import router as neighbours_router
from service.routes.operators import router as operators_router
from service.routes.page import WEB
from service.routes.page import router as page_router
from service.routes.predict import predict_reader
from service.routes.predict import router as predict_router
from service.routes.trace import router as trace_router
from service.scopes import needed
from service.settings import Settings
from service.state import Served, State
from service.tally import Tally
from service.thin import Destination, Shortcut, ThinRoute
from service.trail import Trails


class Application(FastAPI):
    """FastAPI beneath what every request passes, with the schemas of the bodies that the routes read themselves.

    Attributes:
        express: answers past it what needs nothing of ASGI, where the server knows of it.
        channel: leads to the parent of this process, if it is one of several workers.
        journal: what is kept of every request.
        own_routes: all routes but FastAPI's own.
    """

    front: Observe
    entrance: ASGIApp  # the same, or what opens it to other origins
    express: Express
    shortcut: Shortcut
    channel: Channel | None
    journal: Journal
    own_routes: list[BaseRoute]
    shares_ports: bool  # with the other workers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request. `front` is none of FastAPI's middleware: what comes before that costs as much again."""
        scope["app"] = self
        await self.entrance(scope, receive, send)

    async def beneath(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI itself, which is asked for what a GET would be answered where HEAD is asked for.

        RFC 9110, section 9.3.2: the server leaves out the body, by the scope that it has.
        """
        if scope.get("method") != "HEAD":
            await super().__call__(scope, receive, send)
            return
        asked: Scope = {**scope, "method": "GET"}
        try:
            await super().__call__(asked, receive, send)
        finally:
            scope["route"] = asked.get("route")

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's, without its outermost layer, which answers a failure by plain text before `front` does."""
        stack = super().build_middleware_stack()
        return stack.app if isinstance(stack, ServerErrorMiddleware) else stack

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with what FastAPI would find in signatures alone."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"].update(REQUEST_SCHEMAS | REPOSITORY_SCHEMAS)
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    operation["parameters"] = [*_path_parameters(path), *operation.get("parameters", [])]
            if self.state.digitscope.guard.keys:
                _add_security(document)
        return super().openapi()


def _path_parameters(path: str) -> list[dict[str, Any]]:
    examples = {"model": "digits", "version": "1"}
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in examples.items()
        if f"{{{name}}}" in path
    ]


def _add_security(document: dict[str, Any]) -> None:
    """Says in an OpenAPI document how a key is sent, and which scope each operation needs."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            scopes = sorted(needed(path))
            operation["security"] = [{scheme: [scope]} for scope in scopes for scheme in ("bearer", "header")]


def create_app(
    settings: Settings,
    tally: Tally | None = None,
    keyring: Keyring | None = None,
    channel: Channel | None = None,
) -> Application:
    """The ASGI application. The model is opened when it starts, and let go when it ends.

    `tally` is where it counts, if other workers of the service are to count with it, `keyring` has the keys whose rates
    are of all of them, and `channel` leads to their parent then; without a keyring, the settings' own keys are read.

    Raises:
        ValueError: the settings' keys cannot be read.
    """
    app = Application(
        title="digitscope",
        version=service.__version__,
        description="Recognises handwritten digits and shows how.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = (
        predict_router,
        features_router,
        operators_router,
        kernels_router,
        trace_router,
        neighbours_router,
        attribution_router,
        ablate_router,
        model_router,
        protocol_router,
        repository_router,
        thin_protocol_router,
        page_router,
    )
    for router in routers:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=WEB))
    app.own_routes = [route for router in routers for route in router.routes]
    own_paths = (getattr(route, "path", "") for route in app.own_routes)
    paths = ("/openapi.json", *own_paths, "/static/{path:path}")  # in the order in which they are looked at
    grpc_routes = GRPC_ROUTES.values() if settings.grpc_port else ()
    routes = (*paths, *grpc_routes)
    metrics = Metrics(tally or Tally(), routes, settings.max_batch or SIZES[-1])
    if keyring is None and settings.api_keys:
        keyring = Keyring(settings.api_keys)
    guard = _guard(settings, keyring.keys if keyring else (), paths)
    state = app.state.digitscope = State(settings, metrics, guard=guard, keyring=keyring)
    app.channel = channel
    app.journal = journal = Journal(state)
    app.shares_ports = tally is not None
    app.add_exception_handler(DigitscopeError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_middleware(BodyLimit, max_body=settings.max_body)
    app.shortcut = Shortcut()
    app.front = Observe(app.beneath, app.shortcut, state, journal)
    app.entrance = _opened(app.front, state, journal) if settings.allow_origin else app.front
    app.express = Express(app.shortcut, state, journal)
    return app


def _guard(settings: Settings, keys: Sequence[Key], paths: Iterable[str]) -> Guard:
    # Where others may be meant to ask, by whatever name, only who starts the service can say by which.
    checked = settings.allow_host or is_loopback(settings.host)
    return Guard(
        keys,
        paths,
        origins=frozenset(settings.allow_origin),
        names=frozenset(name.lower() for name in settings.allow_host) if checked else None,
    )


def _opened(front: ASGIApp, state: State, journal: Journal) -> ASGIApp:
    from service.cors import Opened  # noqa: PLC0415 — most have no use for it

    return Opened(front, state.settings.allow_origin, state, journal)


@asynccontextmanager
async def _lifespan(app: Application) -> AsyncIterator[None]:
    state: State = app.state.digitscope

    def swapped(served: Served) -> None:
        app.shortcut.destinations = _shortcuts(served)
        app.express.heads.clear()  # each of which knows the version that answered it

    def rekeyed(keys: Sequence[Key]) -> None:
        state.guard.keys = tuple(keys)
        app.express.heads.clear()  # each of which knows its key

    exchange = Exchange(state, at_first(state.settings, app.channel), swapped)
    await exchange.start()
    async with (
        _followed(state.settings.traces) as app.journal.trails,
        controlled(state, exchange, app.channel, rekeyed),
        _grpc(state, app.journal, shared=app.shares_ports),
    ):
        yield
    app.journal.trails = None
    exchange.end()
    app.shortcut.destinations = {}
    app.express.heads.clear()


def _followed(url: str | None) -> AbstractAsyncContextManager[Trails | None]:
    if url is None:
        return nullcontext()
    from service.telemetry import followed  # noqa: PLC0415 — of an extra

    return followed(url)


def _grpc(state: State, journal: Journal, *, shared: bool) -> AbstractAsyncContextManager[None]:
    if not state.settings.grpc_port:
        return nullcontext()
    from service.protocol.grpc.server import grpc_server  # noqa: PLC0415 — of an extra

    return grpc_server(state, journal, shared=shared)


def _shortcuts(served: Served) -> dict[str, Destination]:
    """The paths that are asked most, each with its thin route."""
    found = (route for router in (predict_router, thin_protocol_router) for route in router.routes)
    routes = {route.path: route for route in found if isinstance(route, ThinRoute)}
    model = {"model": served.current.engine.manifest.name}
    destinations = [
        Destination(template.format(**parameters), routes[template], parameters, reader)
        for template, parameters, reader in (
            ("/v1/predict", {}, predict_reader),
            ("/v2/models/{model}/infer", model, infer_reader),
            *(
                ("/v2/models/{model}/versions/{version}/infer", model | {"version": version}, infer_reader)
                for version in served.versions
            ),
        )
    ]
    return {destination.path: destination for destination in destinations}


def _metrics(request: Request) -> Metrics:
    state: State = request.app.state.digitscope
    return state.metrics


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, DigitscopeError)  # noqa: S101 — registered for nothing else
    return refusal(error, _metrics(request))


def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — registered for nothing else
    sentences = {
        404: f"there is nothing at {request.url.path[:80]}",
        405: f"{request.method[:10]} is not answered at {request.url.path[:80]}",
    }
    _metrics(request).refused({404: "Unknown", 405: "Method"}.get(error.status_code, "Malformed"))
    answer = json_answer({"error": sentences.get(error.status_code, str(error.detail))}, error.status_code)
    answer.headers.update(error.headers or {})
    if error.status_code == 405:  # Starlette names the methods of the first route alone that has this path
        matching = [route for route in request.app.own_routes if route.matches(request.scope)[0] is not Match.NONE]
        # What has no route of ours is a file, or the OpenAPI document; and HEAD is answered wherever GET is.
        methods = {method for route in matching for method in getattr(route, "methods", ())} or {"GET"}
        answer.headers["Allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    return answer


def _refuse_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 — registered for nothing else
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    _metrics(request).refused("Malformed")
    return json_answer({"error": f"{where}: {first['msg']}"}, 400)
