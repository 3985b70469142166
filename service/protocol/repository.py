"""The protocol's extension for the repository of models: which versions are here, and which are to be served.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import contextlib
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from service.answer import json_answer
from service.call import Call
from service.errors import MalformedError
from service.protocol import changing, description
from service.protocol.changing import LoadParameters, UnloadParameters, Wanted, control_of, parsed
from service.routes.predict import ERRORS
from service.state import SharedPredictor, SharedState, State

router = APIRouter(prefix="/v2/repository", tags=["Open Inference Protocol"], responses=ERRORS)


class IndexRequest(BaseModel):
    """Which versions are to be listed."""

    ready: bool = Field(default=False, description="only those that answer")


class LoadRequest(BaseModel):
    """A request to load a version."""

    model_config = ConfigDict(extra="forbid")

    parameters: LoadParameters = LoadParameters()


class UnloadRequest(BaseModel):
    """A request to let a version go."""

    model_config = ConfigDict(extra="forbid")

    parameters: UnloadParameters = UnloadParameters()


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
        return parsed(orjson.loads(body), kind) if body else kind()
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is no JSON: {error}") from error


# Whatever else it is sent is passed over.
_ANYTHING = {"anyOf": [{"$ref": "#/components/schemas/IndexRequest"}, {}]}


@router.post("/index", openapi_extra={"requestBody": {"content": {"application/json": {"schema": _ANYTHING}}}})
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
    control = control_of(state, request.path_params["model"])
    await changing.load(control, state, (await _read(request, state, LoadRequest)).parameters)
    return json_answer({})


@router.post("/models/{model}/unload", response_class=Response, openapi_extra=_body(UnloadRequest))
async def unload(request: Request, state: SharedState, _: SharedPredictor) -> Response:
    """Lets go of a version that is served beside the current one, in all worker processes; so too off by default."""
    control = control_of(state, request.path_params["model"])
    await changing.unload(control, state, (await _read(request, state, UnloadRequest)).parameters)
    return json_answer({})
