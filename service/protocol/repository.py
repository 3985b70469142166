"""The protocol's extension for the repository of models: which versions are here, and which are to be served.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import contextlib
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from service.answer import json_answer
from service.call import Call
from service.errors import MalformedError, UnknownError, VersionError
from service.protocol import description
from service.routes.predict import ERRORS
from service.serving import Change, Control, newest
from service.state import SharedPredictor, SharedState, State

router = APIRouter(prefix="/v2/repository", tags=["Open Inference Protocol"], responses=ERRORS)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class IndexRequest(BaseModel):
    """Which versions are to be listed."""

    ready: bool = Field(default=False, description="only those that answer")


class LoadParameters(_Strict):
    """Which version is to be loaded, and whether it is to answer what names none."""

    version: str = Field(default="", pattern="^([1-9][0-9]{0,8})?$", description="else what --model-version says")
    current: bool = Field(default=True, description="whether it answers what names no version, or beside that alone")


class LoadRequest(_Strict):
    """A request to load a version."""

    parameters: LoadParameters = LoadParameters()


class UnloadParameters(_Strict):
    """Which version is to be let go. Nothing depends on a model here, so `unload_dependents` makes no difference."""

    version: str = Field(default="", pattern="^([1-9][0-9]{0,8})?$", description="one that is served beside another")
    unload_dependents: bool = False


class UnloadRequest(_Strict):
    """A request to let a version go."""

    parameters: UnloadParameters = UnloadParameters()


Wanted = TypeVar("Wanted", bound=BaseModel)


SCHEMAS: dict[str, Any] = models_json_schema(
    [(model, "validation") for model in (IndexRequest, LoadRequest, UnloadRequest)],
    ref_template="#/components/schemas/{model}",
)[1]["$defs"]
"""The requests' schemas by name, which FastAPI does not know."""


def _body(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


async def _read(request: Request, state: State, kind: type[Wanted]) -> Wanted:
    """The body, which may be missing."""
    body = await Call.of(request, state).body()
    try:
        return kind.model_validate(orjson.loads(body)) if body else kind()
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is no JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise MalformedError(f"the request is wrong at {where[:80]}: {first['msg']}") from error


@router.post("/index", openapi_extra=_body(IndexRequest))
async def repository_index(request: Request, state: SharedState, _: SharedPredictor) -> list[dict[str, str]]:
    """Lists the versions that are here, with whether each answers, and if not, why. It needs no body."""
    ready = False
    with contextlib.suppress(MalformedError):
        ready = (await _read(request, state, IndexRequest)).ready
    return description.index(state, ready=ready)


@router.post("/models/{model}/load", response_class=Response, openapi_extra=_body(LoadRequest))
async def load(request: Request, state: SharedState, _: SharedPredictor) -> Response:
    """Loads a version without a gap, in all worker processes: checked, warmed, swapped in whole, or refused.

    It comes from the service's own folder of models. The answer comes when every worker has it. Off unless the service
    was started with --repository-api.
    """
    control = _control(request, state)
    wanted = (await _read(request, state, LoadRequest)).parameters
    await control.change(Change("load", wanted.version or newest(state.settings), wanted.current))
    return json_answer({})


@router.post("/models/{model}/unload", response_class=Response, openapi_extra=_body(UnloadRequest))
async def unload(request: Request, state: SharedState, _: SharedPredictor) -> Response:
    """Lets go of a version that is served beside the current one, in all worker processes; so too off by default."""
    control = _control(request, state)
    wanted = (await _read(request, state, UnloadRequest)).parameters
    await control.change(Change("unload", wanted.version or state.predictor.engine.manifest.version))
    return json_answer({})


def _control(request: Request, state: State) -> Control:
    model = request.path_params["model"]
    if not state.settings.repository_api or state.control is None:
        raise VersionError("nothing is loaded or let go by request here: that needs a start with --repository-api")
    if model != state.settings.model_name:
        raise UnknownError(f"there is no model '{model[:40]}' here")
    return state.control
