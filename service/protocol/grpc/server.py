"""The protocol's gRPC server, on the event loop of the application."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, cast
from urllib.parse import unquote

import grpc
import structlog
from grpc.aio import ServicerContext

from service.caller import CALLER, caller_of
from service.errors import DeadlineError, DigitscopeError, MalformedError, OverloadedError
from service.guard import KEY
from service.journal import TICKET, Journal, Ticket
from service.keys import Key
from service.protocol.grpc import ROUTES
from service.protocol.grpc import inference_pb2 as pb
from service.protocol.grpc.codes import CODES
from service.protocol.grpc.listener import Listener
from service.protocol.grpc.methods import METHODS, Message
from service.protocol.grpc.reader import Reader
from service.protocol.grpc.room import Room
from service.refusal import FAILURE, STATUSES, TOO_LATE, note, sentence
from service.state import State
from service.trail import TRAIL, join

_QUIET = 0.5  # seconds: a call of which no request is under way is ended after as long
_MOMENT = 0.2  # seconds in which gRPC tells that a call was given up, once its message has not come
_GONE = 499
_NOT_LET_IN = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_log = structlog.get_logger("digitscope")


@asynccontextmanager
async def grpc_server(state: State, journal: Journal, *, shared: bool) -> AsyncIterator[None]:
    """Answers on the settings' host and gRPC port meanwhile; `shared` with other processes on that port.

    Raises:
        AddressError: the port cannot be had.
    """
    resting: set[asyncio.Task[None]] = set()
    room = Room(state)
    handlers = {method.name: _Handler(method, state, journal, room, resting).rpc() for method in _SERVICE.methods}
    listener = Listener(state, grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers), shared=shared)
    await listener.start()
    _log.info(f"running on grpc://{listener.address}")
    watching = asyncio.create_task(listener.watch())
    stopping = asyncio.create_task(_stop(listener, state, resting))
    try:
        yield
    finally:
        watching.cancel()
        await listener.stop()
        stopping.cancel()


async def _stop(listener: Listener, state: State, resting: set[asyncio.Task[None]]) -> None:
    """Takes no more calls from the beginning of the end, and waits for those under way; clients are told (GOAWAY).

    A call that says nothing is under way for long, and is not waited for.
    """
    await state.ending.begun.wait()
    stopping = asyncio.create_task(listener.stop())
    await asyncio.sleep(_QUIET)
    for waiting in resting:
        waiting.cancel()
    await stopping


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


_ENDED = _Outcome(None, grpc.StatusCode.UNAVAILABLE, "the service ends", 1.0)


class _Handler:
    """One method as gRPC calls it, with bytes: what cannot be read is refused here, and answers are counted."""

    def __init__(
        self, method: Message, state: State, journal: Journal, room: Room, resting: set[asyncio.Task[None]]
    ) -> None:
        """`method` is its descriptor; `room` is of all calls; `resting` the tasks that wait for a message."""
        self._reader = Reader(method, state.settings.max_images)
        self._streaming = method.client_streaming
        self._run = METHODS[method.name]
        self._route = ROUTES[method.name]
        self._name = f"{_SERVICE.full_name}/{method.name}"
        self._state = state
        self._journal = journal
        self._room = room
        self._resting = resting

    def rpc(self) -> grpc.RpcMethodHandler:
        """What is registered: by streams, as whoever waits for a single message has no say in how long that takes."""
        if self._streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.stream_unary_rpc_method_handler(self._unary)

    async def _unary(self, requests: AsyncIterator[bytes], call: ServicerContext) -> bytes:
        address = _caller(call.peer())
        try:
            with self._room.call(address):
                outcome = await self._outcome(partial(self._only, requests), address, call)
        except OverloadedError as error:
            outcome = self._refused(error, address, call)
        except asyncio.CancelledError:
            if not self._state.ending.begun.is_set():
                raise
            outcome = _ENDED
        if outcome.answer is None:
            await _abort(call, outcome)  # raises
        return outcome.serialized()

    async def _stream(self, requests: AsyncIterator[bytes], call: ServicerContext) -> AsyncIterator[bytes]:
        # One after the other: the answers of a stream come in the order of its requests, and a bad one ends nothing.
        begun = self._state.ending.begun
        address = _caller(call.peer())
        ended: _Outcome | None = None
        stream = cast("asyncio.Task[None]", asyncio.current_task())
        self._resting.add(stream)
        try:
            with self._room.call(address):
                self._state.guard.key(self._route, _fields(call))  # or else it would be asked for with a message only
                while (data := await self._next(requests)) is not None:
                    self._resting.discard(stream)
                    outcome = await self._outcome(partial(_as_it_came, data), address, call)
                    if outcome.code in _NOT_LET_IN:
                        ended = outcome
                        break
                    if outcome.answer is None:
                        outcome = _Outcome(pb.ModelStreamInferResponse(error_message=outcome.sentence))
                    yield outcome.serialized()
                    if begun.is_set():
                        break
                    self._resting.add(stream)
        except asyncio.CancelledError:
            if not begun.is_set():
                raise
        except DigitscopeError as error:
            ended = self._refused(error, address, call)
        finally:
            self._resting.discard(stream)
        if begun.is_set():
            ended = _ENDED
        if ended is not None:
            await _abort(call, ended)

    async def _only(self, requests: AsyncIterator[bytes]) -> bytes:
        """The message of a call that has one.

        Raises:
            MalformedError: it has none.
        """
        waiting = cast("asyncio.Task[None]", asyncio.current_task())
        self._resting.add(waiting)
        try:
            data = await anext(aiter(requests), None)
        finally:
            self._resting.discard(waiting)
        if data is None:
            await asyncio.sleep(_MOMENT)  # a caller who has gone has said no more, either: then this is cancelled
            raise MalformedError("the call has no message")
        return data

    async def _next(self, requests: AsyncIterator[bytes]) -> bytes | None:
        """The next request of a stream; None behind its last.

        Raises:
            DeadlineError: none has come for as long as any may take.
        """
        seconds = self._state.settings.timeout
        try:
            async with asyncio.timeout(seconds):
                return await anext(aiter(requests), None)
        except TimeoutError as error:
            raise DeadlineError(f"no request has come on the stream for {seconds:g} s") from error

    def _refused(self, error: DigitscopeError, address: str | None, call: ServicerContext) -> _Outcome:
        """What a call leads to by its opening or its silence, with none of its messages looked at; it is counted."""
        ticket = self._ticket(_fields(call), address, call)
        note(error, self._state.metrics)
        code = CODES[type(error)]
        ticket.end(self._route, STATUSES[type(error)], code=code.name)
        return _Outcome(None, code, sentence(error), error.wait)

    def _ticket(self, fields: dict[bytes, bytes], address: str | None, call: ServicerContext) -> Ticket:
        """The ticket of a message, which now is what is answered."""
        # Over HTTP/2 each call is a POST.
        ticket = self._journal.ticket(fields, "POST", self._route, time.perf_counter(), address, self._name)
        TICKET.set(ticket)
        TRAIL.set(ticket.trail)
        if ticket.trail is not None:
            name, value = ticket.trail.header
            call.set_trailing_metadata(((name.decode(), value.decode()),))  # of a stream, what its last request left
        return ticket

    async def _outcome(
        self, receive: Callable[[], Awaitable[bytes]], address: str | None, call: ServicerContext
    ) -> _Outcome:
        CALLER.set(address)
        fields = _fields(call)
        ticket = self._ticket(fields, address, call)
        status, code = 500, grpc.StatusCode.INTERNAL
        key: Key | None = None
        try:
            if self._state.guard.keys:
                key = self._admitted(fields)
            try:
                async with asyncio.timeout(self._state.settings.timeout):
                    data = await receive()
                    with self._room.message(address, len(data)):
                        answer = await self._run(self._state, self._reader.read(data), call)
            except TimeoutError as error:
                raise DeadlineError(TOO_LATE) from error
            status, code = 200, grpc.StatusCode.OK
            return _Outcome(answer)
        except DigitscopeError as error:
            status, code = STATUSES[type(error)], CODES[type(error)]
            note(error, self._state.metrics)
            return _Outcome(None, code, sentence(error), error.wait)
        except asyncio.CancelledError:  # by the caller, or because the deadline passed or the service ends
            status, code = _GONE, grpc.StatusCode.CANCELLED
            raise
        except Exception as error:  # whatever it is
            self._journal.failed(error)
            return _Outcome(None, code, FAILURE)
        finally:
            ticket.end(self._route, status, key, code.name)

    def _admitted(self, fields: dict[bytes, bytes]) -> Key | None:
        key = self._state.guard.key(self._route, fields)
        KEY.set(key)
        if key is not None:
            CALLER.set(key.name)
            key.spend()
        return key


async def _as_it_came(data: bytes) -> bytes:
    return data


async def _abort(call: ServicerContext, outcome: _Outcome) -> None:
    await call.abort(outcome.code, outcome.sentence, (*(call.trailing_metadata() or ()), *outcome.metadata()))


def _fields(call: ServicerContext) -> dict[bytes, bytes]:
    """What a call says of itself, as header fields; that takes a microsecond, and any line of the log may need it."""
    sent = [
        (name.encode(), value.encode() if isinstance(value, str) else value)
        for name, value in call.invocation_metadata() or ()
    ]
    fields = dict(sent)
    join(fields, sent)
    return fields


def _caller(peer: str) -> str | None:
    """The caller behind a peer such as `ipv4:127.0.0.1:60502` or `ipv6:%5B::1%5D:60502`."""
    kind, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]")
    return caller_of(host) if kind.startswith("ipv") and host else None
