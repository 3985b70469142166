"""The protocol's gRPC server, on the event loop of the application."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import ServicerContext

from service.errors import AddressError, DigitscopeError, MalformedError
from service.guard import KEY
from service.keys import Key
from service.protocol.grpc import ROUTES
from service.protocol.grpc import inference_pb2 as pb
from service.protocol.grpc.codes import CODES
from service.protocol.grpc.methods import METHODS, Message
from service.refusal import FAILURE, STATUSES, note, pause, sentence
from service.state import State

_GRACE = 1.0  # seconds for calls under way at the end, after those over HTTP have had theirs
_GONE = 499
_NOT_LET_IN = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_access = structlog.get_logger("digitscope.access")
_log = structlog.get_logger("digitscope")


@asynccontextmanager
async def grpc_server(state: State, *, shared: bool) -> AsyncIterator[None]:
    """Answers on the settings' host and gRPC port meanwhile; `shared` with other processes on that port.

    Raises:
        AddressError: the port cannot be had.
    """
    settings = state.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", settings.max_body),
            ("grpc.so_reuseport", int(shared)),  # gRPC's default, which would let two services share a port unnoticed
        )
    )
    handlers = {method.name: _Handler(method, state).rpc() for method in _SERVICE.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers),))
    try:
        server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError as error:
        raise AddressError(f"cannot listen for gRPC on {host}:{settings.grpc_port}") from error
    await server.start()
    _log.info(f"running on grpc://{host}:{settings.grpc_port}")
    try:
        yield
    finally:
        await server.stop(_GRACE)


class _Outcome(NamedTuple):
    """What a message led to: an answer, or else a status and a sentence."""

    answer: Message  # or None
    code: grpc.StatusCode = grpc.StatusCode.OK
    sentence: str = ""
    pause: float | None = None  # seconds after which the same message may be answered

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What Retry-After is over HTTP, for clients that try again."""
        return () if self.pause is None else (("grpc-retry-pushback-ms", str(math.ceil(self.pause * 1000))),)

    def serialized(self) -> bytes:
        """The answer's bytes."""
        return cast("bytes", self.answer.SerializeToString())


class _Handler:
    """One method as gRPC calls it, with bytes: what cannot be read is refused here, and answers are counted."""

    def __init__(self, method: Message, state: State) -> None:
        """`method` is its descriptor."""
        self._request = GetMessageClass(method.input_type)
        self._streaming = method.client_streaming
        self._run = METHODS[method.name]
        self._route = ROUTES[method.name]
        self._state = state

    def rpc(self) -> grpc.RpcMethodHandler:
        """What is registered."""
        if self._streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    async def _unary(self, data: bytes, call: ServicerContext) -> bytes:
        outcome = await self._outcome(data, call)
        if outcome.answer is None:
            await call.abort(outcome.code, outcome.sentence, outcome.metadata())  # raises
        return outcome.serialized()

    async def _stream(self, requests: AsyncIterator[bytes], call: ServicerContext) -> AsyncIterator[bytes]:
        # One after the other: the answers of a stream come in the order of its requests, and a bad one ends nothing.
        async for data in requests:
            outcome = await self._outcome(data, call)
            if outcome.code in _NOT_LET_IN:
                await call.abort(outcome.code, outcome.sentence)  # raises
            if outcome.answer is None:
                outcome = _Outcome(pb.ModelStreamInferResponse(error_message=outcome.sentence))
            yield outcome.serialized()

    async def _outcome(self, data: bytes, call: ServicerContext) -> _Outcome:
        metrics = self._state.metrics
        started = time.perf_counter()
        status = 500
        key: Key | None = None
        try:
            if self._state.guard.keys:
                key = self._admitted(call)
            answer = await self._run(self._state, self._read(data), call)
            status = 200
            return _Outcome(answer)
        except DigitscopeError as error:
            status = STATUSES[type(error)]
            note(error, metrics)
            return _Outcome(None, CODES[type(error)], sentence(error), pause(error))
        except asyncio.CancelledError:  # by the caller, or because the deadline passed or the service ends
            status = _GONE
            raise
        except Exception:  # whatever it is
            _access.exception("request failed")
            return _Outcome(None, grpc.StatusCode.INTERNAL, FAILURE)
        finally:
            seconds = time.perf_counter() - started
            metrics.answered(self._route, "POST", status, seconds)  # over HTTP/2 it is one
            if self._state.settings.access_log:
                named = {} if key is None else {"key": key.name}
                _access.info("request", method="POST", path=self._route, status=status, seconds=seconds, **named)

    def _admitted(self, call: ServicerContext) -> Key | None:
        fields = {
            name.encode(): value.encode() if isinstance(value, str) else value
            for name, value in call.invocation_metadata() or ()
        }
        key = self._state.guard.key(self._route, fields)
        KEY.set(key)
        if key is not None:
            key.spend()
        return key

    def _read(self, data: bytes) -> Message:
        try:
            return self._request.FromString(data)
        except DecodeError as error:
            raise MalformedError(f"the message is no {self._request.DESCRIPTOR.name}") from error
