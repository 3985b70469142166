"""A connection: uvicorn's HTTP, with answers in one piece, limits, errors in JSON, and a way past ASGI."""

import asyncio
import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.answer import Answer, to_json
from service.call import FULL, LIMIT, STARTED, declared_length
from service.caller import caller_of
from service.errors import DeadlineError, DigitscopeError, GoneError, NotReadyError, OverloadedError
from service.express import Express, Order
from service.pace import RATE, Pace
from service.refusal import FAILURE, TOO_LATE
from service.shield import WRITTEN as SHIELD

if sys.platform == "linux":
    import fcntl
    import termios

_LONGEST_HEAD = 65536  # bytes
_PIECES = 64  # of a body
_AHEAD = 4096  # bytes that a request takes while it waits for those before it, with a head of the usual length
_SPARE = 256  # connections that may stand beyond the limit until they have read that they may not
_SMALL_BODY = 65536  # bytes; each connection may hold as many, whatever else is held
_END_OF_HEAD = b"\r\n\r\n"
_QUIET = 0.5  # seconds: at the end of the service a connection on which nothing comes for as long is closed
_AGAIN = 0.02  # seconds until one on which something waits to be read is looked at again
_LINGER = 2.0  # seconds in which what still comes is read behind an end, and thrown away


class Connection(HttpToolsProtocol):
    """uvicorn's protocol. What `Express` takes is answered by it, and all else by the application."""

    def __init__(self, express: Express, **options: Any) -> None:
        """`options` are what uvicorn makes a protocol with."""
        super().__init__(**options)
        self._express = express
        self._direct = _Direct()
        self._address: str | None = None
        self._order: Order | None = None  # of the request whose body is being read, if `Express` may take it
        self._turned_away: Order | None = None  # of the request that was refused, and whose body is passed over
        self._asked: Order | None = None  # of the request that `Express` has taken
        self._body: list[bytes] = []
        self._length = 0  # of that body, in bytes
        self._started = 0.0  # when its head was here, on the clock of `time.perf_counter`
        self._data = b""  # what came last, if a request began with it
        self._begun = False  # whether anything has come of a request that has not come to its end
        self._in_head = False
        self._beside = 0  # bytes that have come of it since its beginning, or since the last byte of its body
        self._unsuited = False  # whether `Express` has looked at it in vain
        self._running: RequestResponseCycle | None = None  # whose answer is the next
        self._resting: float | None = None  # since when nothing has come, on the loop's clock
        self._came = 0  # bytes of the newest request's body
        self._held = 0  # bytes of bodies that count as held
        self._ahead = 0  # bytes of requests that wait, which count as held too
        self._overloaded: OverloadedError | None = None  # why the newest of them may not wait
        self._lost = False  # whether the connection has ended
        self._pace = Pace(express.patience, self.loop.time())
        self._last = express.ending.announced  # whether the next answer is the last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection stands."""
        self._whole = _Whole(transport, self._linger)
        super().connection_made(cast("asyncio.Transport", self._whole))
        self._address = None if self.client is None else caller_of(self.client[0])
        self.flow = _Flow(self)
        if len(self.connections) > self._express.most_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        if self._order is not None:
            self._express.ended(self._order, GoneError("the caller has gone"), self._started, self._address)
            self._order = None
        self._lost = True
        self.pipeline.clear()  # nobody waits for those any more
        self._count_ahead()
        if self._running is None or self._running.response_complete or self._running is self._direct:
            self._let_go()
        self._express.unsent.outlets.discard(self._whole)
        self._unset_keepalive_if_required()  # uvicorn does it only where the connection ended in order
        super().connection_lost(exc)

    def end_soon(self) -> None:
        """Has the next answer be the last, or the one of the newest request that is under way."""
        self._last = True
        if self._is_under_way():
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Ends the connection behind its last answer, or once it has been quiet for long enough.

        A connection that only rests is not closed at once, as its next request may be on its way.
        """
        self.end_soon()
        if not self._is_under_way():
            self.loop.call_later(_QUIET, self._leave)

    def _leave(self) -> None:
        if self._begun or self._is_under_way() or self._whole.is_closing():
            return
        if self._whole.is_waiting():  # for what has come and has not been read
            self.loop.call_later(_AGAIN, self._leave)
        else:
            self.transport.close()

    def _linger(self, transport: asyncio.Transport) -> None:
        """Reads on behind the end of what is sent, until the other side ends the connection, too.

        RFC 9112, section 9.6: were it closed while something comes, the answer could be lost on its way.
        """
        transport.set_protocol(_Lingering(self, self.loop.call_later(_LINGER, transport.close)))
        transport.resume_reading()
        transport.write_eof()

    def give_up(self) -> None:
        """Answers what has not been answered: there is no time left for it."""
        self._end_early(NotReadyError("the service ends"))
        self._end_work(0)

    def _make_room(self) -> None:
        """Closes the connection that has rested for longest, or else this one, which is one too many."""
        express, now = self._express, self.loop.time()
        resting = (
            [one for one in self.connections if isinstance(one, Connection) and one.is_resting()]
            if (now >= express.full_until)
            else []
        )
        if resting:
            min(resting, key=lambda one: one.rested_since).cut()
            return
        express.full_until = now + _AGAIN
        self._refuse(503, f"{express.most_connections:,} connections are open, and no more may be", "Overloaded")
        if len(self.connections) > express.most_connections + _SPARE:
            self.cut()

    @property
    def rested_since(self) -> float:
        """When its last answer ended, on the loop's clock."""
        return self._resting or 0.0

    def is_resting(self) -> bool:
        """Whether it has had an answer, and nothing has come since."""
        return (
            self._resting is not None and not self._begun and not self._is_under_way() and not self._whole.is_closing()
        )

    def cut(self) -> None:
        """Ends the connection behind what is sent, and reads nothing more."""
        self._whole.cut()

    def pause_writing(self) -> None:
        """What is written waits to be read."""
        self._express.unsent.outlets.add(self._whole)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has been read."""
        self._express.unsent.outlets.discard(self._whole)
        self._pace.went_on(0, self.loop.time())
        super().resume_writing()

    def watch(self, now: float) -> None:
        """Ends the connection if the other side does not keep pace; to be called once a second."""
        held_up = self.flow.write_paused or self._whole.is_closing()
        if self._pace.is_unread(self._whole.unread() if held_up else 0, now):
            self._express.unread(408, "Slow")
            self._whole.abort()
        elif not self._whole.is_closing():
            self._end_work(self._express.timeout)
            self._watch_sender(now)

    def _end_work(self, seconds: float) -> None:
        """Has the application end what it has worked on for longer than that, and say that it is too late."""
        if self._running is None or self._running is self._direct:
            return
        scope = cast("dict[str, Any]", self._running.scope)
        limit: asyncio.Timeout | None = scope.get(LIMIT)
        if limit is not None and time.perf_counter() - scope[STARTED] > seconds:
            limit.reschedule(self.loop.time())

    def _watch_sender(self, now: float) -> None:
        is_new = not (self._begun or self.cycle)
        if self.flow.read_paused or not (is_new or self._begun):
            self._pace.rested(now)
            return
        waited = self._pace.waited(self.scope, now)
        if is_new:
            if self._pace.is_late(waited):
                self.transport.close()
        elif self._in_head:
            if self._pace.is_late(waited):
                self._refuse(408, f"the head of the request did not come within {self._express.patience:g} s", "Slow")
        elif self._order is not None and waited > self._order.timeout:
            self._end_early(DeadlineError(TOO_LATE))
        elif self._pace.is_slow(waited, self._came):
            self._refuse(408, f"the body of the request comes at less than {RATE:,} bytes a second", "Slow")

    def _end_early(self, error: DigitscopeError) -> None:
        """Answers what `Express` was to answer, though it has not come to its end, as the last of the connection."""
        order = self._order or self._asked
        self._order = None
        if order is not None:
            self._direct.keep_alive = False
            self._send(self._express.ended(order, error, self._started, self._address))

    def _hold(self, size: int) -> OverloadedError | None:
        """Counts a body of so many bytes as held until it is answered, or says why it cannot be."""
        more = min(size, self._express.longest_body) - self._held
        if size <= _SMALL_BODY or more <= 0:
            return None
        refusal = self._express.hold(self._address, more)
        if refusal is None:
            self._held += more
        return refusal

    def _size(self) -> int:
        """The bytes of the newest request's body, as far as is known."""
        return max(self._came, declared_length(dict(self.headers).get(b"content-length", b"")))

    def _count_ahead(self) -> bool:
        """Counts the requests that wait for those before them; returns whether the newest is one too many."""
        more = len(self.pipeline) * _AHEAD - self._ahead
        if more > 0:
            self._overloaded = self._express.hold(self._address, more)
            if self._overloaded is not None:
                return True
        elif more < 0:
            self._express.let_go(self._address, -more)
        self._ahead += more
        return False

    def _let_go(self) -> None:
        """No body is held any more."""
        if self._held:
            self._express.let_go(self._address, self._held)
            self._held = 0

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if not self._begun and not self._is_busy() and self._is_known(data):
            return
        self._data = b"" if self._begun else data
        self._beside = len(data) + (self._beside if self._begun else 0)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The parser stops at the head of a request that wants another protocol, and takes its body for that
            # protocol; so what follows must not be taken for a request.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            cause = error.__context__
            if self._overloaded is not None:
                self._in_head = False  # which is whole, and waits behind the others
                self._refuse(503, str(self._overloaded), "Overloaded")
            elif isinstance(cause, Exception) and not isinstance(cause, (httptools.HttpParserError, UnicodeError)):
                self._express.failed(cause)
                self._refuse(500, FAILURE)
            else:
                self._refuse(400, "what came is no request of HTTP/1.1")
        else:
            if self._begun:
                self._go_on()

    def _go_on(self) -> None:
        """Looks at a request of which more is to come."""
        if self._beside > _LONGEST_HEAD:
            part = "head" if self._in_head else "trailer"
            self._refuse(431, f"the {part} of the request has more than {_LONGEST_HEAD:,} bytes")
        elif (order := self._order) is None:
            return
        elif order.timeout < self._express.timeout:
            self._pass_on()  # where that is watched to the millisecond
        elif (refusal := self._hold(self._size())) is not None:
            self._let_go()
            self._order, self._turned_away, self._body = None, order, []
            self._send(self._express.ended(order, refusal, self._started, self._address))

    def _is_under_way(self) -> bool:
        """Whether the newest request has not been answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_busy(self) -> bool:
        """Whether a request has to wait for another one, or for the client to read its answers."""
        return self.flow.write_paused or self._is_under_way()

    def _is_known(self, data: bytes) -> bool:
        """Whether data is one whole request whose head has been parsed before; if so, it is answered."""
        end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        order, length = self._express.heads.get(data[:end], (None, 0))
        if order is None or len(data) - end != length:
            return False
        self._resting = None
        self._begin(keep_alive=not self._last)
        if self._turn_away(order, length) or self._answer(order, data[end:]):
            return True
        del self._express.heads[data[:end]]
        self._unsuited = True
        return False

    def _refuse(self, status: int, sentence: str, reason: str = "Malformed") -> None:
        """Answers what cannot be read, and ends the connection behind the answers that are under way."""
        self._express.unread(status, reason)
        in_body = self._begun and not self._in_head
        if in_body and self.pipeline:
            self.pipeline.popleft()  # what is broken has waited there
            self.cycle = self.pipeline[0][0] if self.pipeline else cast("RequestResponseCycle", self._running)
            in_body = False
        self._begun = True  # and nothing that follows is a request
        if not in_body and self._is_under_way():
            self.cycle.keep_alive = False
            self._whole.pause_reading()
            return
        self._order = None
        if self._turned_away is None and (not in_body or not self.cycle.response_started):
            body = to_json({"error": sentence})
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
            self._whole.write_at_once(b"".join((STATUS_LINE[status], head, SHIELD, b"\r\n", body)))
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun, self._in_head, self._resting, self._came = True, True, None, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field came, or a trailer field, which is passed over."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head has come to its end."""
        special = self._unsuited or self.expect_100_continue or self.parser.should_upgrade()
        if not special and not self._is_busy():
            self._order = self._express.order(self.parser.get_method(), self.url, self.headers)
        if self._order is None:
            if self.url[:1] not in b"/*" and httptools.parse_url(self.url).path is None:
                raise httptools.HttpParserError  # an address without a path, which uvicorn does not expect
            self.scope[STARTED] = time.perf_counter()  # type: ignore[literal-required]
            super().on_headers_complete()
            if self.pipeline and self._count_ahead():
                raise httptools.HttpParserError
            for name, value in self.headers:
                if name == b"content-length" and len(value) > 4:
                    self._hold_for_application()
            if self._last:
                self.cycle.keep_alive = False
        else:
            self._body, self._length = [], 0
            keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
            self._begin(keep_alive=keep_alive and not self._last)
            # Where the connection is to end behind the answer, that waits for the whole request: a client who is still
            # sending when it ends may lose the answer (RFC 9112, section 9.6).
            length = declared_length(self._order.fields.get(b"content-length", b""))
            if self._direct.keep_alive and length and self._turn_away(self._order, length):
                self._order, self._turned_away = None, self._order
        self._unsuited = False
        self._in_head = False  # at the very end, as an error on the way is one of the head

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self._beside = 0
        self._came += len(body)
        if self._turned_away is not None:
            self._length += len(body)
            if self._length > self._express.longest_body:
                self.transport.close()
            return
        if self._order is None:
            if self._came > _SMALL_BODY and not self.cycle.response_complete:
                self._hold_for_application()
            super().on_body(body)
            return
        self._body.append(body)
        if len(self._body) > _PIECES:  # each of which costs as much as 56 bytes besides
            self._body = [b"".join(self._body)]
        self._length += len(body)
        if self._length > self._express.longest:
            self._pass_on()

    def on_message_complete(self) -> None:
        """A request has come to its end."""
        self._begun, self._beside = False, 0
        order = self._order
        if self._turned_away is not None:
            self._learn(self._turned_away)
            self._turned_away = None
            self._rest()
        elif order is not None:
            if self._turn_away(order, self._length) or self._answer(order, b"".join(self._body)):
                self._learn(order)
            else:
                self._pass_on()
                super().on_message_complete()
        else:
            super().on_message_complete()
        self._order = None
        self._data, self._body = b"", []

    def _begin(self, *, keep_alive: bool) -> None:
        self._running = self._direct
        self._started = time.perf_counter()
        self._direct.response_complete = False
        self._direct.keep_alive = keep_alive
        self.cycle = self._direct

    def _turn_away(self, order: Order, length: int) -> bool:
        """Answers a request that has no time to be answered otherwise, if it is one."""
        answer = self._express.turned_away(order, length, self._address, self._started)
        if answer is None:
            return False
        self._send(answer)
        return True

    def _answer(self, order: Order, body: bytes) -> bool:
        self._asked = order
        taken = self._express.answer(
            order,
            body,
            started=self._started,
            gone=self._whole.is_closing,
            send=self._send,
            address=self._address,
        )
        if not taken:
            self._asked = None
            self._direct.response_complete = True
        return taken

    def _learn(self, order: Order) -> None:
        end = self._data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        # Only of data that is this request and nothing else; and not of one in chunks, which is longer than its body.
        if self._direct.keep_alive and len(self._data) - end == self._length:
            self._express.learn(self._data[:end], order, self._length)

    def _pass_on(self) -> None:
        """Has the application answer what `Express` does not."""
        self._let_go()
        self._order = None
        self._direct.response_complete = True
        self.scope[STARTED] = self._started  # type: ignore[literal-required]
        super().on_headers_complete()
        self.cycle.keep_alive = self._direct.keep_alive  # no more, if the service was told to end meanwhile
        self._hold_for_application()
        super().on_body(b"".join(self._body))

    def _hold_for_application(self) -> None:
        """Counts a body as held, or has the application say that it cannot be; then no more of it is read."""
        refusal = self._hold(self._size())
        if refusal is not None:
            self.scope[FULL] = refusal  # type: ignore[literal-required]
            self.cycle.keep_alive = False

    def _send(self, answer: Answer) -> None:
        """Sends what `Express` has answered."""
        self._asked = None
        # Behind an answer that is the last, what has come already waits for ever.
        self._direct.response_complete = self._direct.keep_alive
        if not self._whole.is_closing():
            content = [STATUS_LINE[answer.status_code]]
            for name, value in (*self.server_state.default_headers, *answer.raw_headers):
                content += (name, b": ", value, b"\r\n")
            if not self._direct.keep_alive:
                content.append(b"connection: close\r\n")
            self._whole.write_at_once(b"".join((*content, SHIELD, b"\r\n", answer.body)))
            if not self._direct.keep_alive:
                self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """An answer has ended."""
        self._whole.flush()
        if self._held:
            self._let_go()
        self._resting = self.loop.time()
        if self.timeout_keep_alive_task is None or self.pipeline or self._whole.is_closing():
            super().on_response_complete()
            self.flow.resume_reading()  # once nothing waits any more
        else:  # the timer that runs will do: a new one for each request cost 15 µs
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if self._ahead:
            self._count_ahead()

        async def work(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            finally:
                if self._lost:  # and the body was held until now
                    self._let_go()

        super()._start_asgi_task(cycle, work)

    def _rest(self) -> None:
        """From now on nothing more is to come of what was answered already."""
        self._resting = self.loop.time()
        if self.timeout_keep_alive_task is None and not self._whole.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Ends the connection, if nothing has come for as long as it may rest."""
        self.timeout_keep_alive_task = None
        if self._resting is None or self._begun or self._is_under_way():
            return  # when what is under way is answered the next timer is set
        left = self._resting + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()


class _Direct(RequestResponseCycle):
    """What uvicorn takes for the request under way while `Express` has it: whether it is, and what comes after."""

    def __init__(self) -> None:
        # Not uvicorn's own, which prepares for ASGI.
        self.disconnected = False
        self.keep_alive = True
        self.response_started = False
        self.response_complete = True
        self.message_event = asyncio.Event()


class _Flow(FlowControl):
    """Flow control that reads nothing more while requests wait.

    uvicorn reads on behind every answer, a packet of requests for each: who sends faster than is answered could fill
    the memory.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.transport)
        self._pipeline = connection.pipeline

    def resume_reading(self) -> None:
        """Reads on, if nothing waits."""
        if not self._pipeline:
            super().resume_reading()


class _Whole:
    """A transport that holds the head of an answer until its body comes, and sends both together.

    uvicorn writes them one by one, which makes two system calls, two segments and two wake-ups of the client.
    """

    def __init__(self, transport: asyncio.Transport, end: Callable[[asyncio.Transport], None]) -> None:
        """`end` ends the connection behind what has been written."""
        self._transport = transport
        self._end = end
        self._head = b""
        self.write_at_once = transport.write
        self.is_closing = transport.is_closing  # found without __getattr__, which is slow

    def write(self, data: bytes) -> None:
        """Sends data, with the head that waited for it; a head waits."""
        if self.is_closing():
            return  # nobody reads it, and uvloop would raise
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):  # an interim answer has no body
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Sends a head that no body came for."""
        if self._head and not self.is_closing():
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Ends the connection, once everything is sent."""
        if not self.is_closing():
            self.flush()
            self.is_closing = _certainly
            self._end(self._transport)

    def get_write_buffer_size(self) -> int:
        """How many bytes have not been handed to the system yet."""
        return self._transport.get_write_buffer_size()

    def unread(self) -> int:
        """How many bytes the other side has not taken yet, those that the system has among them.

        The system asks for more only when a third of its megabytes is free, so that what is here says little of a
        reader's pace.
        """
        opened = self._transport.get_extra_info("socket")
        taken = b"\0\0\0\0"
        if opened is not None and sys.platform == "linux":
            with contextlib.suppress(OSError):
                taken = fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, taken)
        return self._transport.get_write_buffer_size() + int.from_bytes(taken, sys.byteorder)

    def cut(self) -> None:
        """Ends the connection, once everything is sent, and reads nothing more."""
        self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once. Not even the system keeps what has not been read."""
        opened = self._transport.get_extra_info("socket")
        if opened is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(opened.fileno())) as copied:
                copied.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def is_waiting(self) -> bool:
        """Whether something has come that has not been read."""
        opened = self._transport.get_extra_info("socket")
        if opened is None or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(opened.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _certainly() -> bool:
    return True


class _Lingering(asyncio.Protocol):
    """What a connection becomes behind its last answer: what comes is thrown away."""

    def __init__(self, connection: Connection, over: asyncio.TimerHandle) -> None:
        """`over` ends it, however long the other side goes on."""
        self._connection = connection
        self._over = over

    def pause_writing(self) -> None:
        """The other side does not read fast enough."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It reads on."""
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._over.cancel()
        self._connection.connection_lost(exc)
