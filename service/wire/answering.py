"""Answers past ASGI, for what `Express` takes of the requests of a connection; all else is passed on to it."""

import asyncio
import time
from functools import lru_cache
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.answer import Answer, Header
from service.call import STARTED
from service.express import Errand, Express, Order
from service.shield import WRITTEN as SHIELD
from service.wire.held import Held
from service.wire.whole import Whole

END_OF_HEAD = b"\r\n\r\n"
_GOES_ON = b"%b\r\n" % SHIELD
_IS_LAST = b"connection: close\r\n%b\r\n" % SHIELD


class Answering(Held):
    """A protocol that knows which answer is the next, and whose it is: the application's or that of `Express`."""

    __slots__ = (
        "_asked", "_body", "_data", "_direct", "_last", "_length", "_lost", "_order", "_resting", "_running",
        "_started", "_turned_away", "_whole",
    )  # fmt: skip

    _whole: Whole

    def __init__(self, express: Express, **options: Any) -> None:
        """`options` are what uvicorn makes a protocol with."""
        super().__init__(express, **options)
        self._direct = _Direct()
        self._order: Order | None = None  # of the request whose body is being read, if `Express` may take it
        self._turned_away: Order | None = None  # of the request that was refused, and whose body is passed over
        self._asked: Errand | None = None  # the request that `Express` has taken, until it is answered
        self._body: list[bytes] = []
        self._length = 0  # of that body, in bytes
        self._started = 0.0  # when its head was here, on the clock of `time.perf_counter`
        self._data = b""  # what came last, if a request began with it
        self._running: RequestResponseCycle | None = None  # whose answer is the next
        self._resting: float | None = None  # since when nothing has come, on the loop's clock
        self._lost = False  # whether the connection has ended
        self._last = express.ending.announced  # whether the next answer is the last

    def _is_under_way(self) -> bool:
        """Whether the newest request has not been answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_busy(self) -> bool:
        """Whether a request has to wait for another one, or for the client to read its answers."""
        return self.flow.write_paused or self._is_under_way()

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
        errand = self._express.answer(
            order,
            body,
            started=self._started,
            gone=self._whole.is_closing,
            send=self._send,
            address=self._address,
        )
        if errand is None:
            self._direct.response_complete = True
            return False
        if not errand.done():
            self._asked = errand
        return True

    def _learn(self, order: Order) -> None:
        end = self._data.find(END_OF_HEAD) + len(END_OF_HEAD)
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
        body, self._body = b"".join(self._body), []
        super().on_body(body)

    def _send(self, answer: Answer) -> None:
        """Sends what `Express` has answered."""
        self._asked = None
        # Behind an answer that is the last, what has come already waits for ever.
        self._direct.response_complete = self._direct.keep_alive
        if not self._whole.is_closing():
            beginning = _beginning(answer.status_code, *self.server_state.default_headers, *answer.own_headers)
            self._whole.write_at_once(
                b"%bcontent-length: %d\r\n%b%b%b"
                % (
                    beginning,
                    len(answer.body),
                    answer.added,
                    _GOES_ON if self._direct.keep_alive else _IS_LAST,
                    answer.body,
                )
            )
            if not self._direct.keep_alive:
                self.transport.close()
        self._rest_behind_answer()

    def on_response_complete(self) -> None:
        """An answer of the application has ended."""
        self._whole.flush()
        self._rest_behind_answer()

    def _rest_behind_answer(self) -> None:
        if self._held:
            self._let_go()
        self._resting = self.loop.time()
        if self.timeout_keep_alive_task is None or self.pipeline or self._whole.is_closing():
            super().on_response_complete()
            self.flow.resume_reading()  # once nothing waits any more
        else:  # the timer that runs will do: a new one for each request cost 15 µs
            self.server_state.total_requests += 1
            if self.flow.read_paused:
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


@lru_cache(maxsize=256)  # they are mostly those of the answer before: what is written is made in half the time
def _beginning(status: int, *headers: Header) -> bytes:
    """A status line and the headers behind it, as they go over the wire."""
    return b"".join((STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers)))


class _Direct(RequestResponseCycle):
    """What uvicorn takes for the request under way while `Express` has it: whether it is, and what comes after."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete", "response_started")

    def __init__(self) -> None:
        # Not uvicorn's own, which prepares for ASGI.
        self.disconnected = False
        self.keep_alive = True
        self.response_started = False
        self.response_complete = True
        self.message_event = asyncio.Event()
