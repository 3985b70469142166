"""The application: one function puts settings, routes, errors and middleware together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

import service
from service import errors
from service.answer import json_answer
from service.engine import Engine
from service.errors import DigitscopeError, ModelError
from service.manifest import load_manifest, load_model, versions
from service.observe import BodyLimit, Observe
from service.predictor import Predictor
from service.protocol.routes import REQUEST_SCHEMAS
from service.protocol.routes import router as protocol_router
from service.routes.features import router as features_router
from service.routes.model import router as model_router
from service.routes.page import WEB
from service.routes.page import router as page_router
from service.routes.predict import router as predict_router
from service.settings import Settings
from service.state import State

STATUSES: dict[type[DigitscopeError], int] = {
    errors.MalformedError: 400,
    errors.UnknownError: 404,
    errors.TooLargeError: 413,
    errors.NotAPictureError: 415,
    errors.EngineError: 500,
    errors.OverloadedError: 503,
    errors.NotReadyError: 503,
    errors.ModelError: 503,
    errors.ProviderError: 503,
}
"""The status of each error, for those that a request can meet and those that keep the service from starting."""

_RETRY_AFTER = "1"  # seconds
_log = structlog.get_logger("digitscope")


class _Application(FastAPI):
    """FastAPI with the schemas of the bodies that the routes read themselves."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"].update(REQUEST_SCHEMAS)
        return document


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. The model is opened when it starts, and let go when it ends."""
    app = _Application(
        title="digitscope",
        version=service.__version__,
        description="Recognises handwritten digits and shows how.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    state = app.state.digitscope = State(settings)
    for router in (predict_router, features_router, model_router, protocol_router, page_router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=WEB))
    app.add_exception_handler(DigitscopeError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_middleware(BodyLimit, max_body=settings.max_body)
    failure = json_answer({"error": "the service failed on this request; its log has the cause"}, 500)
    app.add_middleware(Observe, metrics=state.metrics, access_log=settings.access_log, failure=failure)
    return app


def open_engine(settings: Settings) -> Engine:
    """The engine of the settings' model and version, verified and warmed.

    Raises:
        ModelError: there is no such model, or it is not what its manifest says.
        ProviderError: the provider asked for by name cannot be used.
    """
    directory = _directory(settings)
    manifest = load_manifest(directory)
    if (manifest.name, manifest.version) != (settings.model_name, directory.name):
        raise ModelError(f"{directory} holds another model: {manifest.name}, version {manifest.version}")
    return Engine(load_model(directory, manifest), manifest, provider=settings.provider, threads=settings.threads)


def _directory(settings: Settings) -> Path:
    version = settings.model_version
    if version == "latest":
        found = versions(settings.models, settings.model_name)
        if not found:
            raise ModelError(f"{settings.models / settings.model_name} has no version with a manifest")
        version = str(found[-1])
    return settings.models / settings.model_name / version


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: State = app.state.digitscope
    engine = await run_in_threadpool(open_engine, state.settings)
    state.metrics.describe(engine)
    state.loaded = Predictor(engine, state.settings, state.metrics)
    report = _log.warning if engine.fallback else _log.info
    report(
        "model open",
        model=engine.manifest.name,
        version=engine.manifest.version,
        sha256=engine.manifest.sha256,
        provider=engine.provider,
        asked=state.settings.provider,
        fallback=engine.fallback,
        threads=engine.threads,
    )
    yield
    state.loaded = None


def _refuse(request: Request, error: Exception) -> Response:
    status = STATUSES[type(error)]  # type: ignore[index]  # registered for DigitscopeError alone
    _count_refusal(request, type(error).__name__.removesuffix("Error"))
    sentence = str(error).encode(errors="replace").decode()  # it may quote a name that is no text
    answer = json_answer({"error": sentence}, status)
    if status == 503:
        answer.headers["Retry-After"] = _RETRY_AFTER
    if isinstance(error, errors.EngineError):
        _log.error("engine failed", exc_info=error.__cause__)
    return answer


def _count_refusal(request: Request, reason: str) -> None:
    state: State = request.app.state.digitscope
    state.metrics.refusals.labels(reason).inc()


def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — registered for nothing else
    sentences = {
        404: f"there is nothing at {request.url.path[:80]}",
        405: f"{request.method[:10]} is not answered at {request.url.path[:80]}",
    }
    _count_refusal(request, {404: "Unknown", 405: "Method"}.get(error.status_code, "Malformed"))
    answer = json_answer({"error": sentences.get(error.status_code, str(error.detail))}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _refuse_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 — registered for nothing else
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    _count_refusal(request, "Malformed")
    return json_answer({"error": f"{where}: {first['msg']}"}, 400)
