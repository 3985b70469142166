"""Versions loaded and let go by request, whichever way the request came."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import MalformedError, UnknownError, VersionError
from service.serving import Change, Control, newest
from service.state import State

_NUMBER = "^([1-9][0-9]{0,8})?$"


class LoadParameters(BaseModel):
    """Which version is to be loaded, and whether it is to answer what names none."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(default="", pattern=_NUMBER, description="else what --model-version says")
    current: bool = Field(default=True, description="whether it answers what names no version, or beside that alone")


class UnloadParameters(BaseModel):
    """Which version is to be let go. Nothing depends on a model here, so `unload_dependents` makes no difference."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(default="", pattern=_NUMBER, description="one that is served beside another")
    unload_dependents: bool = False


Wanted = TypeVar("Wanted", bound=BaseModel)


def parsed(values: object, kind: type[Wanted]) -> Wanted:
    """Plain values as they are wanted.

    Raises:
        MalformedError: they are something else.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise MalformedError(f"the request is wrong at {where[:80]}: {first['msg']}") from error


def control_of(state: State, model: str) -> Control:
    """What changes a model's versions.

    Raises:
        VersionError: nothing is changed by request here.
        UnknownError: there is no such model.
    """
    if not state.settings.repository_api or state.control is None:
        raise VersionError("nothing is loaded or let go by request here: that needs a start with --repository-api")
    if model != state.settings.model_name:
        raise UnknownError(f"there is no model '{model[:40]}' here")
    return state.control


async def load(control: Control, state: State, wanted: LoadParameters) -> None:
    """Loads a version in all worker processes.

    Raises:
        VersionError: it is refused.
        ModelError: there is no version.
    """
    await control.change(Change("load", wanted.version or newest(state.settings), wanted.current))


async def unload(control: Control, state: State, wanted: UnloadParameters) -> None:
    """Lets go of a version in all worker processes.

    Raises:
        VersionError: it is the current one, or is not loaded.
    """
    await control.change(Change("unload", wanted.version or state.predictor.engine.manifest.version))
