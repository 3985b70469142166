"""What the routes of one application share, reached by dependency injection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.errors import NotReadyError, UnknownError
from service.guard import Guard
from service.metrics import Metrics
from service.predictor import Predictor
from service.serving import Control
from service.settings import Settings


@dataclass(frozen=True)
class Served:
    """The versions that are open. It is replaced as a whole, so that nobody ever sees half a change.

    Attributes:
        current: the one that answers where none is named.
        versions: all of them, by number.
        refused: why each of those that failed their checks did, by number.
    """

    current: Predictor
    versions: Mapping[str, Predictor]
    refused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass
class State:
    """Settings, counters, who may ask what, and what is served while the application runs.

    Attributes:
        control: what changes what is served.
    """

    settings: Settings
    metrics: Metrics
    served: Served | None = None
    control: Control | None = None
    guard: Guard = field(default_factory=Guard)

    @property
    def loaded(self) -> Predictor | None:
        """The predictor of the current version, if it is open."""
        return self.served.current if self.served else None

    @property
    def open(self) -> Served:
        """What is served.

        Raises:
            NotReadyError: the model is not loaded.
        """
        if self.served is None:
            raise NotReadyError("the model is not loaded")
        return self.served

    @property
    def predictor(self) -> Predictor:
        """The predictor of the current version.

        Raises:
            NotReadyError: the model is not loaded.
        """
        return self.open.current

    def named(self, model: str, version: str = "") -> Predictor:
        """The predictor of that model and version; without one, of the current version.

        Raises:
            NotReadyError: the model is not loaded.
            UnknownError: another is named.
        """
        served = self.open
        if model != self.settings.model_name:
            raise UnknownError(f"there is no model '{model[:40]}' here")
        if version and version not in served.versions:
            raise UnknownError(f"the model '{model}' has no version '{version[:40]}' here")
        return served.versions[version] if version else served.current


def _state(connection: HTTPConnection) -> State:
    return cast("State", connection.app.state.digitscope)


def _predictor(state: Annotated[State, Depends(_state)]) -> Predictor:
    return state.predictor


SharedState = Annotated[State, Depends(_state)]
SharedPredictor = Annotated[Predictor, Depends(_predictor)]
