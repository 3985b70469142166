"""Where calls over gRPC come in: gRPC's own server on one port, and another one in its place if it ends unasked.

grpc.aio decodes the path of each call in the loop that all calls come through, and one path that is no UTF-8 ends that
loop for good, before anything of ours has seen the call. No option of gRPC's refuses such a path earlier.
"""

import asyncio
import math
import traceback
from typing import Any

import grpc
import structlog

from service.errors import AddressError
from service.state import State

_GRACE = 8.0  # seconds for calls under way at the end, as those over HTTP have
_STREAMS = 128  # calls at once on a connection; more wait in the client
_METADATA = 16384  # bytes of a call's metadata
_ALIVE = 20_000  # milliseconds after which a silent client is asked whether it is there, and for its answer to that
_IDLE = 60_000  # milliseconds that a connection may have no call under way
_LOOK = 0.1  # seconds between two looks at the server, and between two tries to have its port again
_SILENCE = 10.0  # seconds after a line of the log in which there is no other
_log = structlog.get_logger("digitscope")


class Listener:
    """The server that there is, and the one before it for as long as that has calls under way."""

    def __init__(self, state: State, handlers: grpc.GenericRpcHandler, *, shared: bool) -> None:
        """`shared` with other processes is the port, and `handlers` answer the calls."""
        self._state = state
        self._handlers = handlers
        self._shared = shared
        self._server: grpc.aio.Server = None
        self._former: asyncio.Task[None] | None = None  # lets the one before end

    @property
    def address(self) -> str:
        """The host and the port of the settings."""
        settings = self._state.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"{host}:{settings.grpc_port}"

    async def start(self) -> None:
        """Answers from now on.

        Raises:
            AddressError: the port cannot be had.
        """
        settings = self._state.settings
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", settings.max_body),
                # A bit an algorithm, and the lowest is for none: gRPC inflates a message to a thousand times its size
                # before anybody is asked for a key or for the room.
                ("grpc.compression_enabled_algorithms_bitset", 1),
                ("grpc.max_allowed_incoming_connections", settings.max_connections),
                ("grpc.server_handshake_timeout_ms", math.ceil(settings.patience * 1000)),
                ("grpc.max_connection_idle_ms", _IDLE),
                ("grpc.max_concurrent_streams", _STREAMS),
                ("grpc.max_metadata_size", _METADATA),
                ("grpc.absolute_max_metadata_size", _METADATA),
                ("grpc.keepalive_time_ms", _ALIVE),
                ("grpc.keepalive_timeout_ms", _ALIVE),
                # gRPC's default, which would let two services share a port unnoticed
                ("grpc.so_reuseport", int(self._shared)),
            )
        )
        server.add_generic_rpc_handlers((self._handlers,))
        try:
            server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise AddressError(f"cannot listen for gRPC on {self.address}") from error
        await server.start()
        self._server = server

    async def watch(self) -> None:
        """Looks after the server until it is stopped: one that ended unasked is replaced, and until then not ready.

        What it was answering goes on, for as long as calls have at the service's end. Both changes are logged, but once
        in a while where they come in a row, with how many `more` there were.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_told)
        said, unsaid = -math.inf, 0
        while (error := await self._failure()) is not None:
            self._state.deaf = True
            silent = loop.time() < said + _SILENCE
            unsaid += silent
            if not silent:
                _log.error("gRPC's server has ended unasked and is not ready", reason=type(error).__name__, more=unsaid)
            await asyncio.sleep(_LOOK)  # in which it closes its port
            await self._let_go()
            while not await self._opened_anew():
                await asyncio.sleep(_LOOK)
            self._state.deaf = False
            if not silent:
                _log.warning("gRPC's server answers again")
                said, unsaid = loop.time(), 0

    async def stop(self) -> None:
        """Takes no more calls, and waits for those under way; clients are told (GOAWAY)."""
        await self._server.stop(_GRACE)
        if self._former is not None:
            await asyncio.wait([self._former])

    async def _failure(self) -> Exception | None:
        """What the server has ended by; None if it was told to. It says so itself only when its last call is over."""
        try:
            while await self._server.wait_for_termination(_LOOK):
                pass
        except Exception as error:  # whatever it is
            return error
        return None

    async def _let_go(self) -> None:
        """Lets the server end with its calls; there is no more than one such, whoever has servers end in a row."""
        if self._former is not None and not self._former.done():
            self._former.cancel()
            await asyncio.wait([self._former])
        self._former = asyncio.create_task(_ended(self._server))

    async def _opened_anew(self) -> bool:
        try:
            await self.start()
        except Exception:  # above all that the port is not free at once, where it is shared with nobody
            return False
        return True


async def _ended(server: grpc.aio.Server) -> None:
    try:
        await server.stop(_GRACE)
    except asyncio.CancelledError:
        await server.stop(None)


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Passes over the stack trace that grpc.aio leaves of a server that ended unasked, as that is told already."""
    error = context.get("exception")
    steps = () if error is None else traceback.extract_tb(error.__traceback__)
    if not any(step.name == "_server_main_loop" for step in steps):
        loop.default_exception_handler(context)
