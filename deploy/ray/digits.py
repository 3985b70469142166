"""The service as a deployment of Ray Serve: the same application in each replica, opened and closed there."""

from typing import Any

from ray import serve
from starlette.applications import Starlette

from service.app import create_app
from service.settings import Settings
from service.state import State


class Digits:
    """A replica. Ray Serve gives it `app`, whose lifespan it has run before the first request comes."""

    app: Starlette

    async def check_health(self) -> None:
        """What Ray Serve asks now and then; it replaces a replica that raises.

        Raises:
            RuntimeError: the engine's last run failed, or no model is open.
        """
        state: State = self.app.state.digitscope
        if not state.is_ready():
            raise RuntimeError("the engine is not ready")


def application(arguments: dict[str, Any]) -> Any:
    """The application of `args` in a configuration of Ray Serve, which are the service's settings by name.

    Raises:
        ValidationError: there is no such setting, or it cannot have such a value.
    """
    settings = Settings(**arguments)

    def build() -> Starlette:  # in each replica, since nothing of it goes from one process to another
        return create_app(settings)

    return serve.deployment(serve.ingress(build)(Digits)).bind()
