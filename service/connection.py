"""A connection: uvicorn's HTTP, with answers in one piece, limits, errors in JSON, and a way past ASGI.

What it is made of lies in `service.wire`; here is what is done with what comes.
"""

import asyncio
import time
from typing import Any, cast

import httptools

from service.call import STARTED, declared_length
from service.caller import caller_of
from service.errors import GoneError
from service.express import Express
from service.refusal import FAILURE
from service.wire.answering import END_OF_HEAD
from service.wire.held import SMALL_BODY, Flow
from service.wire.watched import Watched
from service.wire.whole import Whole

_LONGEST_HEAD = 65536  # bytes
_VERSIONS = ("1.1", "1.0")
_PIECES = 64  # of a body


class Connection(Watched):
    """uvicorn's protocol. What `Express` takes is answered by it, and all else by the application."""

    __slots__ = ("_beside", "_unsuited")

    def __init__(self, express: Express, **options: Any) -> None:
        """`options` are what uvicorn makes a protocol with."""
        super().__init__(express, **options)
        self._beside = 0  # bytes that have come of a request since its beginning, or since the last byte of its body
        self._unsuited = False  # whether `Express` has looked at it in vain

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection stands."""
        self._whole = Whole(transport, self._linger)
        super().connection_made(cast("asyncio.Transport", self._whole))
        self._address = None if self.client is None else caller_of(self.client[0])
        self.flow = Flow(self)
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
            self._hand_over()
        elif order.timeout < self._express.timeout:
            self._pass_on()  # where that is watched to the millisecond
        elif (refusal := self._hold(self._size())) is not None:
            self._let_go()
            self._order, self._turned_away, self._body = None, order, []
            self._send(self._express.ended(order, refusal, self._started, self._address))

    def _is_known(self, data: bytes) -> bool:
        """Whether data is one whole request whose head has been parsed before; if so, it is answered."""
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
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
        self._check_head()
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

    def _check_head(self) -> None:
        """Refuses what a proxy may take for another request (RFC 9112, sections 3.2 and 6.1): the parser is lenient.

        Raises:
            HttpParserError: there is not one `Host`, or the body has a coding besides that in chunks.
        """
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                raise httptools.HttpParserError
        version = self.parser.get_http_version()
        if (hosts != 1 and (hosts or version != "1.0")) or version not in _VERSIONS:
            raise httptools.HttpParserError

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self._beside = 0
        self._came += len(body)
        if self._turned_away is not None:
            self._length += len(body)
            if self._length > self._express.longest_body:
                self.transport.close()
            return
        self._body.append(body)
        if self._order is None:
            if len(self._body) > _PIECES:
                self._hand_over()
            return
        if len(self._body) > _PIECES:  # each of which costs as much as 56 bytes besides
            self._body = [b"".join(self._body)]
        self._length += len(body)
        if self._length > self._express.longest:
            self._pass_on()

    def _hand_over(self) -> None:
        """Gives the application what has come of its body; uvicorn adds each piece to a copy of all before it."""
        if self._body:
            if self._came > SMALL_BODY and not self.cycle.response_complete:
                self._hold_for_application()
            body, self._body = b"".join(self._body), []
            super().on_body(body)

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
            self._hand_over()
            super().on_message_complete()
        self._order = None
        self._data, self._body = b"", []
