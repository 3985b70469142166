"""A connection: uvicorn's HTTP, with answers in one piece, limits, errors in JSON, and a way past ASGI."""

import asyncio
import time
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.answer import Answer, to_json
from service.errors import GoneError, NotReadyError
from service.express import Express, Order
from service.refusal import FAILURE
from service.shield import WRITTEN as SHIELD

_LONGEST_HEAD = 65536  # bytes
_END_OF_HEAD = b"\r\n\r\n"


class Connection(HttpToolsProtocol):
    """uvicorn's protocol. What `Express` takes is answered by it, and all else by the application."""

    def __init__(self, express: Express, **options: Any) -> None:
        """`options` are what uvicorn makes a protocol with."""
        super().__init__(**options)
        self._express = express
        self._direct = _Direct()
        self._order: Order | None = None  # of the request whose body is being read, if `Express` may take it
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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection stands."""
        self._whole = _Whole(transport)
        super().connection_made(cast("asyncio.Transport", self._whole))
        self.flow = _Flow(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        if self._order is not None:
            self._express.ended(self._order, GoneError("the caller has gone"), self._started)
            self._order = None
        self._unset_keepalive_if_required()  # uvicorn does it only where the connection ended in order
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Answers what `Express` has not answered: there is no time left for it."""
        order = self._order or self._asked
        self._order = None
        if order is not None:
            self._send(self._express.ended(order, NotReadyError("the service ends"), self._started))

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
            if isinstance(cause, Exception) and not isinstance(cause, (httptools.HttpParserError, UnicodeError)):
                self._express.failed(cause)
                self._refuse(500, FAILURE)
            else:
                self._refuse(400, "what came is no request of HTTP/1.1")
        else:
            if self._begun and self._beside > _LONGEST_HEAD:
                part = "head" if self._in_head else "trailer"
                self._refuse(431, f"the {part} of the request has more than {_LONGEST_HEAD:,} bytes")

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
        self._begin(keep_alive=True)
        if self._answer(order, data[end:]):
            return True
        del self._express.heads[data[:end]]
        self._unsuited = True
        return False

    def _refuse(self, status: int, sentence: str) -> None:
        """Answers what cannot be read, and ends the connection behind the answers that are under way."""
        self._express.unread(status)
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
        if not in_body or not self.cycle.response_started:
            body = to_json({"error": sentence})
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
            self._whole.write_at_once(b"".join((STATUS_LINE[status], head, SHIELD, b"\r\n", body)))
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun, self._in_head, self._resting = True, True, None
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
            super().on_headers_complete()
        else:
            self._body, self._length = [], 0
            self._begin(keep_alive=self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive())
        self._unsuited = False
        self._in_head = False  # at the very end, as an error on the way is one of the head

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self._beside = 0
        if self._order is None:
            super().on_body(body)
            return
        self._body.append(body)
        self._length += len(body)
        if self._length > self._express.longest:
            self._pass_on()

    def on_message_complete(self) -> None:
        """A request has come to its end."""
        self._begun, self._beside = False, 0
        order = self._order
        if order is not None:
            if self._answer(order, b"".join(self._body)):
                self._learn(order)
            else:
                self._pass_on()
        if self._order is None:
            super().on_message_complete()
        self._order = None
        self._data, self._body = b"", []

    def _begin(self, *, keep_alive: bool) -> None:
        self._running = self._direct
        self._started = time.perf_counter()
        self._direct.response_complete = False
        self._direct.keep_alive = keep_alive
        self.cycle = self._direct

    def _answer(self, order: Order, body: bytes) -> bool:
        self._asked = order
        taken = self._express.answer(order, body, started=self._started, gone=self._whole.is_closing, send=self._send)
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
        self._order = None
        self._direct.response_complete = True
        super().on_headers_complete()
        self.cycle.keep_alive = self._direct.keep_alive  # no more, if the service was told to end meanwhile
        super().on_body(b"".join(self._body))

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
        self._resting = self.loop.time()
        if self.timeout_keep_alive_task is None or self.pipeline or self._whole.is_closing():
            super().on_response_complete()
            self.flow.resume_reading()  # once nothing waits any more
        else:  # the timer that runs will do: a new one for each request cost 15 µs
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

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

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
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
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
