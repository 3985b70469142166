"""What the routes of one application share, reached by dependency injection."""

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.errors import NotReadyError
from service.guard import Guard
from service.metrics import Metrics
from service.predictor import Predictor
from service.settings import Settings


@dataclass
class State:
    """Settings, counters, who may ask what, and the predictor while the application runs."""

    settings: Settings
    metrics: Metrics
    loaded: Predictor | None = None
    guard: Guard = field(default_factory=Guard)

    @property
    def predictor(self) -> Predictor:
        """The predictor.

        Raises:
            NotReadyError: the model is not loaded.
        """
        if self.loaded is None:
            raise NotReadyError("the model is not loaded")
        return self.loaded


def _state(connection: HTTPConnection) -> State:
    return cast("State", connection.app.state.digitscope)


def _predictor(state: Annotated[State, Depends(_state)]) -> Predictor:
    return state.predictor


SharedState = Annotated[State, Depends(_state)]
SharedPredictor = Annotated[Predictor, Depends(_predictor)]
