"""What the routes of one application share, reached by dependency injection."""

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.ending import Ending
from service.errors import NotReadyError
from service.metrics import Metrics
from service.predictor import Predictor
from service.settings import Settings


@dataclass
class State:
    """Settings, counters, the predictor while the application runs, and how far its end has come."""

    settings: Settings
    metrics: Metrics
    loaded: Predictor | None = None
    ending: Ending = field(default_factory=Ending)

    @property
    def predictor(self) -> Predictor:
        """The predictor.

        Raises:
            NotReadyError: the model is not loaded.
        """
        if self.loaded is None:
            raise NotReadyError("the model is not loaded")
        return self.loaded

    async def is_ready(self) -> bool:
        """Whether predictions are answered: the model is loaded, its engine is well, and no end is announced."""
        return not self.ending.announced and self.loaded is not None and await self.loaded.is_ready()


def _state(connection: HTTPConnection) -> State:
    return cast("State", connection.app.state.digitscope)


def _predictor(state: Annotated[State, Depends(_state)]) -> Predictor:
    return state.predictor


SharedState = Annotated[State, Depends(_state)]
SharedPredictor = Annotated[Predictor, Depends(_predictor)]
