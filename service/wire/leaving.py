"""How a connection ends: behind its last answer, when it has rested for long enough, or because of what came."""

import asyncio
import time
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.answer import to_json
from service.call import LIMIT, STARTED
from service.errors import DigitscopeError, NotReadyError
from service.express import Express
from service.shield import WRITTEN as SHIELD
from service.wire.answering import Answering

_SPARE = 256  # connections that may stand beyond the limit until they have read that they may not
_QUIET = 0.5  # seconds: at the end of the service a connection on which nothing comes for as long is closed
_AGAIN = 0.02  # seconds until one on which something waits to be read is looked at again
_LINGER = 2.0  # seconds in which what still comes is read behind an end, and thrown away


class Leaving(Answering):
    """A protocol whose connection ends so that no answer is lost, and none of many stands for nothing."""

    __slots__ = ("_begun", "_in_head")

    def __init__(self, express: Express, **options: Any) -> None:
        """`options` are what uvicorn makes a protocol with."""
        super().__init__(express, **options)
        self._begun = False  # whether anything has come of a request that has not come to its end
        self._in_head = False

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

    def _end_early(self, error: DigitscopeError) -> None:
        """Answers what `Express` was to answer, though it has not come to its end, as the last of the connection."""
        order, self._order = self._order, None
        self._direct.keep_alive = self._direct.keep_alive and order is None and self._asked is None
        if order is not None:
            self._send(self._express.ended(order, error, self._started, self._address))
        elif self._asked is not None:
            self._asked.set_exception(error)

    def _end_work(self, seconds: float) -> None:
        """Has the application end what it has worked on for longer than that, and say that it is too late."""
        if self._running is None or self._running is self._direct:
            return
        scope = cast("dict[str, Any]", self._running.scope)
        limit: asyncio.Timeout | None = scope.get(LIMIT)
        if limit is not None and time.perf_counter() - scope[STARTED] > seconds:
            limit.reschedule(self.loop.time())

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

    def _make_room(self) -> None:
        """Closes the connection that has rested for longest, or else this one, which is one too many."""
        express = self._express
        connections = (one for one in self.connections if isinstance(one, Leaving))
        if express.crowd.make_room(connections, self.loop.time()):
            return
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

    def has_unread(self) -> bool:
        """Whether something has come that has not been read."""
        return self._whole.is_waiting()

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
        elif self._whole.is_waiting():  # a request, which was sent before its sender could know of the end
            self.timeout_keep_alive_task = self.loop.call_later(_AGAIN, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def cut(self) -> None:
        """Ends the connection behind what is sent, and reads nothing more."""
        self._whole.cut()


class _Lingering(asyncio.Protocol):
    """What a connection becomes behind its last answer: what comes is thrown away."""

    def __init__(self, connection: asyncio.Protocol, over: asyncio.TimerHandle) -> None:
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
