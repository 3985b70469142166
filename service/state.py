"""What the routes of one application share, reached by dependency injection."""

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.errors import NotReadyError
from service.metrics import Metrics
from service.predictor import Predictor
from service.settings import Settings
from service.shares import Shares


@dataclass
class State:
    """Settings, counters, and the predictor while the application runs.

    Attributes:
        bodies: bytes of the requests' bodies that are held, of at most `settings.max_held`.
    """

    settings: Settings
    metrics: Metrics
    loaded: Predictor | None = None
    bodies: Shares = field(default_factory=Shares)

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
