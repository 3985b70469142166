"""uvicorn as this service runs it."""

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from service.connection import Connection
from service.ending import Ending
from service.express import Express
from service.listeners import are_waiting, refuse_new
from service.memory import return_freed

_GRACE = 8  # seconds for requests under way when the service is to end; Docker waits for 10
_REST = 75  # seconds between two requests: more than the minute for which many a proxy keeps a connection for the next
_HANDSHAKE = 0.05  # seconds for connections that were being made when the end began
_LAST_ACCEPTS = 1.0  # seconds in which those that stand are accepted, on a system where more may still come
_TRIM = 100  # tenths of a second after which what bursts have freed goes back: a millisecond, for 10 MB
_YOUNG = 20_000  # objects that may be made before those not needed any more are looked for


def serve(
    app: ASGIApp, express: Express, sockets: list[socket.socket], ready: Callable[[], None], drain_delay: float = 0.0
) -> bool:
    """Serves in this process until it is told to end; returns whether it could start.

    What `express` can answer is answered by it, the rest by `app`. `ready` is called once it answers on the sockets.
    Told to end, it goes on to serve for `drain_delay` seconds in which it says that it is not ready.
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
        timeout_keep_alive=_REST,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config, ready, express.ending, drain_delay)
    # For signals before uvicorn takes them: it ends then as soon as it has started.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run(sockets)
    return server.started


class Watching(uvicorn.Server):
    """uvicorn's server, which looks at its connections once a second."""

    async def on_tick(self, counter: int) -> bool:
        """What is to be done ten times a second; returns whether the end begins."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in self.connections():
                connection.watch(now)
        return await super().on_tick(counter)

    def connections(self) -> list[Connection]:
        """Those that are open."""
        return [one for one in self.server_state.connections if isinstance(one, Connection)]


class _Server(Watching):
    """The server of the service, which tells when it answers, and announces its end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Ending, drain_delay: float) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending
        self._drain_delay = drain_delay
        self._end: float | None = None  # when the end begins, on the monotonic clock

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Announces the end; when it is told a second time it ends at once."""
        if self._end is not None:
            if multiprocessing.parent_process() is None:
                os._exit(0)
            return  # a signal to the whole group comes from the parent once more, which ends by force when told twice
        self._ending.announced = True
        self._end = time.monotonic() + self._drain_delay

    async def on_tick(self, counter: int) -> bool:
        """What is to be done ten times a second; returns whether the end begins."""
        if self._end is not None:
            for connection in self.connections():
                connection.end_soon()
            self.should_exit = time.monotonic() >= self._end
        if counter % _TRIM == 0:
            return_freed()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends, when all is answered or the time for it is over."""
        over = asyncio.get_running_loop().call_later(_GRACE, self._give_up)
        self._ending.begun.set()
        await _accept_the_last(sockets or [])
        await super().shutdown(sockets)
        over.cancel()

    def _give_up(self) -> None:
        # uvicorn itself knows of no requests but those that are tasks.
        for connection in self.connections():
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


async def _accept_the_last(sockets: Sequence[socket.socket]) -> None:
    """Sees to it that nobody has connected in vain: who waits behind a socket that is closed would be cut off."""
    for listening in sockets:
        refuse_new(listening)
    over = time.monotonic() + _LAST_ACCEPTS
    await asyncio.sleep(_HANDSHAKE)
    while are_waiting(sockets) and time.monotonic() < over:
        await asyncio.sleep(0.001)
