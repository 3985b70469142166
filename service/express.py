"""Whole requests for the thin routes, answered with no task and no message of ASGI.

What an event loop and ASGI do for a request costs more than all else that is done for it, the network apart: without
them 169 µs of a CPU came down to 60, where bare uvicorn with a fixed answer takes 87.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from service.answer import Answer
from service.call import Head, declared_length, media_type, time_allowed
from service.crowd import Crowd
from service.errors import DigitscopeError, OverloadedError
from service.image import PIXELS
from service.intake import PREPARED
from service.journal import TICKET, Journal, Ticket
from service.keys import Key
from service.metrics import UNKNOWN, Metrics
from service.origin import of_browser
from service.prediction import Prediction
from service.refusal import failure, refusal
from service.state import State
from service.thin import Destination, Reader, Shortcut, Work
from service.trail import join

_LONGEST = 2**18  # bytes of a body; more do not come in one read
_KEPT = 1024  # heads
_LONGEST_KEPT = 1024  # bytes of a head
_PICTURES = "/v1/predict"
_BINARY = b"inference-header-content-length"
_AHEAD = time.monotonic() - time.perf_counter()  # of deadlines' clock; on Linux they are one, and this is nearly 0


class Order(NamedTuple):
    """What the head of a request says: where it leads, and how its body is read.

    Attributes:
        prepared: whether the body is digits as the network takes them, and so read in no time.
        timeout: the seconds that it may take.
        key: whose key it has, if it needs one.
    """

    destination: Destination
    fields: dict[bytes, bytes]
    read: Reader
    prepared: bool
    timeout: float
    key: Key | None = None

    def caller(self, address: str | None) -> str | None:
        """Whom the request is from, as far as shares go: by its key, or else by an address."""
        return address if self.key is None else self.key.name


class Express:
    """Answers by calls what `Observe` and the thin routes answer by coroutines, in the same words.

    Attributes:
        longest: the most bytes of a body that is answered here.
        heads: heads whose orders are known, each to its last byte, with the length of the body that follows. Most
            clients send the same again and again, and then nothing of it is parsed twice: 14 µs of those.
        ending: how far the end of the service has come.
        timeout: the most seconds that a request may take.
        patience: how many seconds one waits for who is slow.
        most_connections: how many may be open.
        crowd: what makes room where there are as many.
        longest_body: the most bytes of any body.
        unsent: as `State` has it.
    """

    def __init__(self, shortcut: Shortcut, shared: State, journal: Journal) -> None:
        self._shortcut = shortcut
        self._shared = shared
        self._journal = journal
        self.ending = shared.ending
        self.timeout = shared.settings.timeout
        self.patience = shared.settings.patience
        self.most_connections = shared.settings.max_connections
        self.crowd = Crowd()
        self.longest_body = shared.settings.max_body
        self.unsent = shared.unsent
        self.longest = min(_LONGEST, shared.settings.max_body)
        self.heads: dict[bytes, tuple[Order, int]] = {}

    def order(self, method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> Order | None:
        """The order that a head amounts to; None where the application is to answer."""
        path, _, query = target.partition(b"#")[0].partition(b"?")
        destination = self._shortcut.destinations.get(path.decode("latin-1"))
        if destination is None or method != b"POST":
            return None
        by_name = dict(fields)
        if declared_length(by_name.get(b"content-length", b"")) > self.longest or of_browser(by_name):
            return None
        if self._journal.trails is not None:
            join(by_name, fields)
        guard = self._shared.guard
        try:
            guard.check_sender("POST", by_name)
            key = guard.key(destination.route.path, by_name)
            timeout = time_allowed(by_name, self.timeout)
            read = destination.reader(Head(query, destination.parameters, by_name, self._shared))
        except Exception:  # whatever it is, the application meets it too, and says what is wrong
            return None
        prepared = media_type(by_name) == PREPARED or _BINARY in by_name
        return None if read is None else Order(destination, by_name, read, prepared, timeout, key)

    def learn(self, head: bytes, order: Order, length: int) -> None:
        """Keeps a head, which a body of so many bytes follows, for those to come that are the same."""
        destination = order.destination
        if self._shortcut.destinations.get(destination.path) is not destination:
            return  # of a version that was let go since the head was read
        if order.key is not None and order.key not in self._shared.guard.keys:
            return  # nor is it known any more
        names_itself = b"x-request-id" in order.fields or b"traceparent" in order.fields  # and so comes only once
        if len(head) <= _LONGEST_KEPT and not names_itself:
            if len(self.heads) >= _KEPT:
                self.heads.clear()
            self.heads[head] = order, length

    def turned_away(self, order: Order, length: int, address: str | None, started: float) -> Answer | None:
        """The answer to a request from an address that cannot be answered in time; None for others.

        It is refused by its head and the length of its body, with nothing of it read; refusing is to cost little.
        """
        served = self._shared.served
        if served is None:
            return None
        predictor = served.versions.get(order.destination.parameters.get("version", ""), served.current)
        caller = order.caller(address)
        error = predictor.refusal(max(1, length // PIXELS) if order.prepared else 1, caller)
        if error is None and not order.prepared:
            picture = order.destination.path == _PICTURES
            error = predictor.refusal_of_picture(length if picture else 0, caller)
        if error is None:
            return None
        predictor.counts.passed("fail", 1, time.perf_counter() - started)
        return self.ended(order, error, started, address)

    def answer(
        self,
        order: Order,
        body: bytes,
        *,
        started: float,
        gone: Callable[[], bool],
        send: Callable[[Answer], None],
        address: str | None = None,
    ) -> "Errand | None":
        """Answers a request from an address by a call of `send`, now or later.

        `started` is when its head was here, on the clock of `time.perf_counter`; `gone` is as `Batcher.put` has it.
        Returns None, with nothing done, for a request that takes longer than may be spent at once.
        """
        ticket = self._ticket(order, started, address)
        errand = Errand(self._shared.metrics, self._journal, order, ticket, send)
        key = order.key
        try:
            if key is not None:
                key.spend()
            spending = self._shared.predictor.spending
            caller = order.caller(address)
            began = time.perf_counter()
            try:
                work = order.read(body)
            finally:
                read = time.perf_counter()
                spending.spent(caller, read - began)
                if ticket.trail is not None:
                    ticket.trail.stage("read", began, read)
            if work is None:
                if key is not None:
                    key.give_back()
                return None
            errand.begin(work, read)
            timeout = order.timeout if work.timeout is None else min(work.timeout, order.timeout)
            deadline = started + timeout + _AHEAD
            work.predictor.begin(work.pixels, errand, reasons=work.reasons, deadline=deadline, gone=gone, caller=caller)
        except Exception as error:  # whatever it is
            errand.set_exception(error)
        return errand

    def hold(self, address: str | None, length: int) -> OverloadedError | None:
        """Counts so many bytes more of bodies from an address as held, or says why they cannot be.

        By address even where there are keys: a body comes before anybody has seen whose it is.
        """
        bodies, most = self._shared.bodies, self._shared.settings.max_held
        if not bodies.fits(address, length, most):
            return OverloadedError(f"bodies of {bodies.total:,.0f} bytes are held already, of {most:,} at most")
        bodies.take(address, length)
        return None

    def let_go(self, address: str | None, length: int) -> None:
        """So many bytes from an address are held no more."""
        self._shared.bodies.give(address, length)

    def ended(self, order: Order, error: DigitscopeError, started: float, address: str | None) -> Answer:
        """The answer to a request that ended before it could be answered, which is counted."""
        ticket = self._ticket(order, started, address)
        answer = refusal(error, self._shared.metrics)
        answer.added = ticket.written
        ticket.end(order.destination.route.path, answer.status_code, order.key)
        return answer

    def _ticket(self, order: Order, started: float, address: str | None) -> Ticket:
        return self._journal.ticket(order.fields, "POST", order.destination.path, started, address)

    def unread(self, status: int, reason: str = "Malformed") -> None:
        """Counts what came and could not be read, by the status that it is answered by."""
        self._shared.metrics.refused(reason)
        self._shared.metrics.answered(UNKNOWN, "", status, 0.0)

    def failed(self, error: Exception) -> None:
        """Logs an exception that nobody had foreseen."""
        self._journal.failed(error)


class Errand:
    """A request on its way: what receives its prediction, counts it, and sends its answer."""

    __slots__ = ("_began", "_journal", "_metrics", "_order", "_send", "_ticket", "_work")

    def __init__(
        self, metrics: Metrics, journal: Journal, order: Order, ticket: Ticket, send: Callable[[Answer], None]
    ) -> None:
        self._metrics = metrics
        self._journal = journal
        self._order = order
        self._ticket = ticket
        self._send = send
        self._work: Work | None = None  # as long as its prediction is waited for

    def begin(self, work: Work, now: float) -> None:
        """Has it wait for the prediction from now on, on the clock of `time.perf_counter`."""
        self._work, self._began = work, now

    def done(self) -> bool:
        """Whether it has been answered, or was never begun."""
        return self._work is None

    def set_result(self, prediction: Prediction, /) -> None:
        """Answers by a prediction."""
        try:
            work = self._waited("success")
            if self._ticket.trail is not None:
                work.predictor.tell(self._ticket.trail, prediction, self._began)
            answer = work.answer(prediction)
        except Exception as error:  # whatever it is
            self.set_exception(error)
        else:
            self._end(answer)

    def _waited(self, stage: str) -> Work:
        work, self._work = self._work, None
        assert work is not None  # noqa: S101 — it began, and nothing is received twice
        work.predictor.counts.passed(stage, 1, time.perf_counter() - self._began)
        return work

    def set_exception(self, error: Exception, /) -> None:
        """Answers by what kept it from one."""
        if self._work is not None:
            self._waited("fail")
        token = TICKET.set(self._ticket)
        try:
            if isinstance(error, DigitscopeError):
                answer = refusal(error, self._metrics)
            else:
                self._journal.failed(error)
                answer = failure()
        finally:
            TICKET.reset(token)
        self._end(answer)

    def _end(self, answer: Answer) -> None:
        answer.added = self._ticket.written
        self._send(answer)
        self._ticket.end(self._order.destination.route.path, answer.status_code, self._order.key)
