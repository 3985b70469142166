"""What the routes of one application share, reached by dependency injection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.ending import Ending
from service.errors import NotReadyError, UnknownError
from service.guard import Guard
from service.keyring import Keyring
from service.metrics import Metrics
from service.predictor import Predictor
from service.serving import Control
from service.settings import Settings
from service.shares import Shares
from service.unsent import Unsent


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
    """What they share.

    Attributes:
        settings: the settings.
        metrics: the counters.
        served: what is served, while the application runs.
        control: what changes that.
        guard: who may ask what.
        keyring: the keys that it asks for, if any.
        ending: how far its end has come.
        bodies: bytes of the requests' bodies that are held, of at most `settings.max_held`.
        unsent: answers that are not being read.
        deaf: whether gRPC's server has ended unasked and no other one has its port yet.
    """

    settings: Settings
    metrics: Metrics
    served: Served | None = None
    control: Control | None = None
    guard: Guard = field(default_factory=Guard)
    keyring: Keyring | None = None
    ending: Ending = field(default_factory=Ending)
    bodies: Shares = field(default_factory=Shares)
    unsent: Unsent = field(init=False)
    deaf: bool = False

    def __post_init__(self) -> None:
        self.unsent = Unsent(self.settings.max_unsent)

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

    def is_ready(self) -> bool:
        """Whether predictions are answered: the model is loaded and its current version answers, on every port."""
        return not self.deaf and self.loaded is not None and self.answers(self.loaded)

    def answers(self, predictor: Predictor) -> bool:
        """Whether a version answers: its engine is well, and no end is announced.

        One that is not well is asked again by `service.mending`, and not whenever somebody wants to know.
        """
        return not self.ending.announced and predictor.engine.healthy


def _state(connection: HTTPConnection) -> State:
    return cast("State", connection.app.state.digitscope)


def _predictor(state: Annotated[State, Depends(_state)]) -> Predictor:
    return state.predictor


SharedState = Annotated[State, Depends(_state)]
SharedPredictor = Annotated[Predictor, Depends(_predictor)]
