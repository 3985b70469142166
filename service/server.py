"""uvicorn as this service runs it."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from service.connection import Connection
from service.express import Express
from service.memory import return_freed

_GRACE = 8  # seconds for requests under way when the service is to end; Docker waits for 10
_YOUNG = 20_000  # objects that may be made before those not needed any more are looked for


def serve(app: ASGIApp, express: Express, sockets: list[socket.socket], ready: Callable[[], None]) -> bool:
    """Serves in this process until it is told to end; returns whether it could start.

    What `express` can answer is answered by it, the rest by `app`. `ready` is called once it answers on the sockets.
    """
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(Connection, express)),
        ws="none",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config, ready)

    # For signals before uvicorn takes them: it ends then as soon as it has started. And when it is done it raises the
    # one that ended it once more, for which there is nothing left to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run(sockets)
    return server.started


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends, when all is answered or the time for it is over."""
        over = asyncio.get_running_loop().call_later(_GRACE, self._give_up)
        await super().shutdown(sockets)
        over.cancel()

    def _give_up(self) -> None:
        # uvicorn itself knows of no requests but those that are tasks.
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.give_up()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer."""
        await super().startup(sockets)
        # What is here by now stays. Going through it for garbage again and again took a thirtieth of the time.
        gc.collect()
        gc.freeze()
        return_freed()
        gc.set_threshold(_YOUNG)
        if self.started:
            self._ready()
