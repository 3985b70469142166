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
from service.shares import Shares
from service.unsent import Unsent


@dataclass
class State:
    """What they share.

    Attributes:
        settings: the settings.
        metrics: the counters.
        loaded: the predictor, while the application runs.
        ending: how far its end has come.
        bodies: bytes of the requests' bodies that are held, of at most `settings.max_held`.
        unsent: answers that are not being read.
    """

    settings: Settings
    metrics: Metrics
    loaded: Predictor | None = None
    ending: Ending = field(default_factory=Ending)
    bodies: Shares = field(default_factory=Shares)
    unsent: Unsent = field(init=False)

    def __post_init__(self) -> None:
        self.unsent = Unsent(self.settings.max_unsent)

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
