"""Connections: what is said to bytes that are no request, when they end, and that none of it harms another."""

import asyncio
import gc
import json
import socket
import struct
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from threading import Event, Thread
from typing import Any

import httpx
import pytest
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.app import Application, create_app
from service.connection import Connection
from service.image import open_picture
from service.metrics import STATUSES
from service.settings import Settings
from tests.service.asgi import finish, running
from tests.service.clock import Clock
from tests.service.connected import Answer, Connected
from tests.service.serving import DATA, MODELS, VERSION, serving
from tests.service.test_express import Driver, driver, whole
from tests.service.thin_requests import INFER, LENGTH
from tests.service.wire import Wire, head

RAW = {LENGTH: "0"}
THIN = whole(INFER, bytes(784), RAW)
BAD = whole("/v1/predict", b"hello", {})
LIVE = head("GET", "/v2/health/live")
FEATURES = head("POST", "/v1/features", "Content-Length: 3") + b"abc"
GARBAGE = b"\x00\x01 what is this\r\n\r\n"
BAD_TARGETS = [
    b"GET http:// HTTP/1.1\r\n\r\n",
    b"GET http://x:99999/ HTTP/1.1\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\n\r\n",
    b"GET http://example.com HTTP/1.1\r\n\r\n",
]
"""Requests whose heads have a right form, and whose targets have none."""
NO_REQUEST = {"error": "what came is no request of HTTP/1.1"}


@pytest.fixture(scope="module")
def driven() -> Iterator[Driver]:
    """An application for connections with no socket."""
    yield from driver()


@pytest.fixture
def fresh() -> Iterator[tuple[Application, httpx.Client]]:
    """An application that has counted nothing yet, on sockets."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    with serving(app) as client:
        yield app, client


async def told(app: Application, *packets: bytes, ends: bool = True) -> list[Answer]:
    """The answers to what comes on one connection, which ends behind them if it is to."""
    connected = Connected(app)
    connected.feed(*packets)
    while ends and not connected.transport.is_closing():
        await asyncio.sleep(0.001)
    answers = connected.answers()
    assert connected.transport.is_closing() == ends
    connected.transport.close()
    await asyncio.sleep(0)
    assert not connected.state.connections
    return answers


def refused(answer: Answer, status: int = 400) -> None:
    """It is a refusal in JSON, and the last of its connection."""
    assert answer.status == status and answer.header("connection") == "close"
    assert answer.header("content-type") == "application/json"
    assert int(answer.header("content-length")) == len(answer.body)
    if status == 400:
        assert json.loads(answer.body) == NO_REQUEST
    else:
        assert json.loads(answer.body) == {"error": "the head of the request has more than 65,536 bytes"}


@pytest.mark.parametrize("nonsense", [GARBAGE, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", *BAD_TARGETS])
def test_garbage_is_refused_in_json(fresh: tuple[Application, httpx.Client], nonsense: bytes) -> None:
    """What is no request gets a 400 like any other, the connection ends, and another one is not touched by it."""
    _, client = fresh
    with Wire(client) as wire, Wire(client) as other:
        other.send(THIN[:300])
        wire.send(nonsense)
        answer = wire.answer("GET")
        assert answer.status == 400 and answer.headers["Connection"] == "close"
        assert answer.headers["Content-Type"] == "application/json"
        assert json.loads(answer.body) == NO_REQUEST
        assert wire.ended()
        other.send(THIN[300:])
        assert other.answer().status == 200


@pytest.mark.parametrize("nonsense", [GARBAGE, *BAD_TARGETS])
@pytest.mark.parametrize("before", [THIN, BAD, LIVE, FEATURES], ids=["thin", "refused at once", "live", "features"])
@pytest.mark.parametrize("together", [True, False])
def test_garbage_behind_a_request_waits_for_its_answer(
    driven: Driver, before: bytes, nonsense: bytes, together: bool
) -> None:
    """The answer that is under way comes first and is the request's own, and the connection ends behind it."""
    packets = (before + nonsense,) if together else (before, nonsense)
    (alone,) = driven.run(told(driven.app, before.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)))
    answer, *more = driven.run(told(driven.app, *packets))
    assert (answer.status, answer.body) == (alone.status, alone.body)
    if more:  # it was answered before the rest was looked at
        (last,) = more
        refused(last)
        assert before is BAD and not [value for name, value in answer.headers if name == "connection"]
    else:
        assert answer.header("connection") == "close"


@pytest.mark.parametrize("nonsense", [GARBAGE, *BAD_TARGETS])
@pytest.mark.parametrize("before", [THIN, BAD, LIVE, FEATURES], ids=["thin", "refused at once", "live", "features"])
def test_garbage_behind_an_answer_is_refused(driven: Driver, before: bytes, nonsense: bytes) -> None:
    """Once the answer is there, what follows is refused as if it came first."""

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        connected.feed(before)
        await connected.answered(1)
        connected.feed(nonsense)
        assert connected.transport.is_closing()
        return connected.answers()

    _, last = driven.run(drive())
    refused(last)


@pytest.mark.parametrize("path", ["/v1/predict", INFER, "/v1/features", "/nothing"])
@pytest.mark.parametrize("begun", [b"", b"5\r\nhello\r\n"])
def test_a_broken_chunk_is_refused(driven: Driver, path: str, begun: bytes) -> None:
    """A body that cannot be read is a 400, unless its request was answered before; either way the connection ends."""
    request = head("POST", path, "Transfer-Encoding: chunked") + begun + b"no number\r\n"
    (answer,) = driven.run(told(driven.app, request))
    refused(answer)
    place = request.index(b"no number")
    (answer,) = driven.run(told(driven.app, request[:place], request[place:]))
    refused(answer)


@pytest.mark.parametrize("before", [b"", BAD, THIN, LIVE], ids=["first", "refused", "thin", "live"])
def test_a_head_without_end_is_refused_in_its_turn(driven: Driver, before: bytes) -> None:
    """Beyond 65,536 bytes it is a 431; behind a request that is under way the answer comes first, and is the last."""
    endless = b"GET /v2 HTTP/1.1\r\nlong: " + b"x" * 16384
    answers = driven.run(told(driven.app, before + endless, *[b"x" * 16384] * 5))
    if before in (THIN, LIVE):
        (answer,) = answers
        assert answer.status == 200 and answer.header("connection") == "close"
    else:
        refused(answers[-1], 431)
        assert len(answers) == 1 + bool(before)


@pytest.mark.parametrize("path", [INFER, "/v1/features"])
@pytest.mark.parametrize("trailer", [b"a: b\r\n" * 2000, b"a: " + b"b" * 10_000])
def test_trailers_without_end_are_refused(driven: Driver, path: str, trailer: bytes) -> None:
    """What comes behind the last chunk is passed over, and beyond 64 KB it ends the connection."""
    begun = head("POST", path, "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n"
    (answer,) = driven.run(told(driven.app, begun, *[trailer] * 8))
    assert answer.status == 431 and answer.header("connection") == "close"
    assert json.loads(answer.body) == {"error": "the trailer of the request has more than 65,536 bytes"}


@pytest.mark.parametrize("before", [[THIN], [LIVE], [THIN, LIVE], [LIVE, THIN, FEATURES]])
def test_a_broken_body_behind_requests_waits_for_their_answers(driven: Driver, before: list[bytes]) -> None:
    """Those that are under way are answered, the last of them as the last of the connection."""
    broken = head("POST", INFER, "Transfer-Encoding: chunked") + b"zz\r\n"
    answers = driven.run(told(driven.app, b"".join(before) + broken))
    said = {THIN: (200, b'"model_name"'), LIVE: (200, b'"live"'), FEATURES: (415, b'"error"')}
    for answer, request_ in zip(answers, before, strict=True):
        status, word = said[request_]
        assert answer.status == status and word in answer.body
    assert answers[-1].header("connection") == "close"


def test_what_cannot_be_read_is_counted(fresh: tuple[Application, httpx.Client]) -> None:
    """As a refusal and by its status, though it has neither a route nor a method."""
    _, client = fresh
    with Wire(client) as wire:
        wire.send(GARBAGE)
        assert wire.answer("GET").status == 400
    counts = client.get("/metrics").text
    assert 'digitscope_refusals_total{reason="Malformed"} 1.0' in counts
    assert 'digitscope_requests_total{method="other",route="unknown",status="400"} 1.0' in counts


def test_a_body_does_not_count_as_head(driven: Driver) -> None:
    """Only a head is limited: behind bodies of megabytes, in one packet or many, the next request is answered."""

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        large = whole("/nothing", bytes(300_000), {})
        for stop in (2000, 70_000, 300_050):
            connected.feed(large[:stop], large[stop:] + LIVE[:9], LIVE[9:])
            await connected.answered(2)
            connected.feed(LIVE[:5], LIVE[5:] + b"\r\n\r\n", THIN[:20], THIN[20:])
        answers = await connected.answered(12)
        connected.transport.close()
        return answers

    answers = driven.run(drive())
    assert [answer.status for answer in answers] == [404, 200, 200, 200] * 3


@pytest.mark.parametrize("cut", [True, False])
def test_what_follows_the_last_request_is_none(driven: Driver, monkeypatch: pytest.MonkeyPatch, cut: bool) -> None:
    """RFC 9112, section 9.3: behind a request that is the last of its connection nothing is read as one."""
    taken: list[bytes] = []
    answer = driven.app.express.answer

    def noting(order: Any, body: bytes, **named: Any) -> Any:
        taken.append(body)
        return answer(order, body, **named)

    monkeypatch.setattr(driven.app.express, "answer", noting)
    closed = BAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    old = BAD.replace(b"HTTP/1.1", b"HTTP/1.0")
    older = old.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n", 1)
    for last in (closed, old, older):
        for more in (BAD, THIN, LIVE, GARBAGE):
            taken.clear()
            packets = (last[:50], last[50:] + more) if cut else (last + more,)
            (told_last,) = driven.run(told(driven.app, *packets))
            assert told_last.status == 415 and told_last.header("connection") == "close"
            assert taken == [b"hello"]


@pytest.mark.parametrize("request_line", [f"POST {INFER}", "GET /v2/health/live", "POST /v1/predict"])
@pytest.mark.parametrize("field", ["", "Connection: keep-alive\r\n"])
def test_an_old_client_is_let_go(fresh: tuple[Application, httpx.Client], request_line: str, field: str) -> None:
    """HTTP/1.0 is answered, by whichever way, and its connection ends, whatever it asks for."""
    _, client = fresh
    body = bytes(784) if "POST" in request_line else b""
    fields = f"{field}{LENGTH}: 0\r\nContent-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
    for _ in range(2):
        with Wire(client) as wire:
            wire.send(f"{request_line} HTTP/1.0\r\n{fields}\r\n".encode() + body)
            answer = wire.answer()
            assert answer.status == 200 and answer.headers["Connection"] == "close"
            assert wire.ended()


@pytest.mark.parametrize("path", ["/v1/predict", INFER])
def test_who_waits_to_be_told_to_go_on_is_told(fresh: tuple[Application, httpx.Client], path: str) -> None:
    """RFC 9110, section 10.1.1: a body that is expected to be asked for is, and one that is too large is refused."""
    _, client = fresh
    fields = ("Expect: 100-continue", f"{LENGTH}: 0", "Content-Type: application/octet-stream")
    for _ in range(2):
        with Wire(client) as wire:
            wire.send(head("POST", path, *fields, "Content-Length: 784"))
            assert wire.socket.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(bytes(784))
            assert wire.answer().status == 200
            wire.send(THIN)
            assert wire.answer().status == 200
    with Wire(client) as wire:
        wire.send(head("POST", path, *fields, f"Content-Length: {10**12}"))
        assert wire.answer().status == 413


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Host: x\r\n", b""),
        (b"Host: x\r\n", b"Host: x\r\nHost: x\r\n"),
        (b"HTTP/1.1", b"HTTP/2.0"),
        (b" HTTP/1.1", b""),
        (b"Content-Length: 784\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    ],
    ids=["no host", "two hosts", "a version to come", "a version long gone", "coded beside chunks"],
)
def test_what_a_proxy_may_read_otherwise_is_refused(driven: Driver, old: bytes, new: bytes) -> None:
    """By 400, as the last of its connection, and none of it is a request."""
    assert old in THIN

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        connected.feed(THIN.replace(old, new, 1))
        return await connected.answered(1)

    (answer,) = driven.run(drive())
    assert answer.status == 400 and answer.header("connection") == "close"


def test_a_body_of_tiny_chunks_is_handed_over_in_few_pieces(driven: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece costs uvicorn a copy of all before it: of 30,000 chunks of one byte it gets a few hundred."""
    pieces: list[int] = []
    hand_over = HttpToolsProtocol.on_body

    def noting(self: HttpToolsProtocol, body: bytes) -> None:
        pieces.append(len(body))
        hand_over(self, body)

    monkeypatch.setattr(HttpToolsProtocol, "on_body", noting)
    chunked = head("POST", "/v1/features", "Transfer-Encoding: chunked", "Content-Type: image/png")

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        connected.feed(chunked + b"1\r\na\r\n" * 30_000 + b"0\r\n\r\n")
        return await connected.answered(1)

    (answer,) = driven.run(drive())
    assert answer.status == 415 and sum(pieces) == 30_000 and len(pieces) < 500


@pytest.mark.parametrize("before", [THIN, BAD, LIVE], ids=["thin", "refused", "live"])
def test_a_connection_that_rests_ends(before: bytes) -> None:
    """On a socket: when nothing has come since the last answer, by whichever way, it is closed without a word."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    with serving(app, keep_alive=1) as client, Wire(client) as wire:
        for _ in range(2):
            wire.send(before)
            wire.answer()
        assert wire.ended()


def test_a_request_that_has_come_is_answered_however_long_the_rest_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rest ends while the event loop is busy and the next request waits unread: it is read first, and not lost."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    with serving(app, keep_alive=1) as client, Wire(client) as wire, Wire(client) as other:
        wire.send(THIN)
        wire.answer()
        time.sleep(0.6)
        started = Event()

        def open_slowly(data: bytes, max_pixels: int) -> Any:
            started.set()
            time.sleep(1)  # beyond the end of the rest
            return open_picture(data, max_pixels)

        monkeypatch.setattr("service.predictor.open_picture", open_slowly)
        other.send(whole("/v1/predict", (DATA / "seven.png").read_bytes(), {"Content-Type": "image/png"}))
        assert started.wait(10)
        wire.send(THIN)
        assert wire.answer().status == other.answer().status == 200
        assert wire.ended()


@pytest.fixture(scope="module")
def clock() -> Clock:
    """A clock that leaps to the next timer."""
    return Clock()


@pytest.fixture(scope="module")
def timed(clock: Clock) -> Iterator[Driver]:
    """An application on that clock."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    with asyncio.Runner(loop_factory=lambda: clock) as runner:
        opened = app.router.lifespan_context(app)
        runner.run(opened.__aenter__())
        yield Driver(runner, app, 10_000)
        runner.run(opened.__aexit__(None, None, None))


STREAMS = (THIN, BAD, LIVE, THIN + LIVE, LIVE + THIN, THIN + THIN, BAD + BAD, BAD + THIN, BAD + LIVE)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_rest_is_as_long_as_it_may_be(timed: Driver, clock: Clock, stream: bytes, times: int) -> None:
    """The connection ends so many seconds behind its last answer, neither sooner nor later, however it was used."""

    async def drive() -> float:
        connected = Connected(timed.app, keep_alive=5)
        for number in range(1, times + 1):
            connected.feed(stream)
            await connected.answered(number * stream.count(b"HTTP/1.1"))
            rested = clock.now
            await asyncio.sleep(4.5)
            assert not connected.transport.is_closing()
        while not connected.transport.is_closing():
            await asyncio.sleep(0.1)
        return clock.now - rested

    assert timed.run(drive()) == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize(
    "parts",
    [(THIN,), (LIVE,), (THIN, LIVE), (BAD, THIN), (THIN[:50], THIN[50:]), (LIVE[:9], LIVE[9:]), (BAD,), (THIN + LIVE,)],
    ids=["thin", "live", "thin and live", "refused and thin", "halves", "halves of live", "refused", "two at once"],
)
def test_a_connection_in_use_does_not_end(timed: Driver, clock: Clock, parts: tuple[bytes, ...]) -> None:
    """One that is used at least every half second goes on, though it may rest for a second only."""

    async def drive() -> None:
        connected = Connected(timed.app, keep_alive=1)
        started = clock.now
        asked = b""
        while clock.now < started + 10:
            for part in parts:
                connected.feed(part)
                asked += part
                await asyncio.sleep(0.49)
                assert not connected.transport.is_closing()
        assert len(connected.answers()) == asked.count(b"Host: x\r\n") > 8
        connected.transport.close()

    timed.run(drive())


@pytest.mark.parametrize("before", [THIN, BAD, LIVE], ids=["thin", "refused", "live"])
@pytest.mark.parametrize("request_", [THIN, LIVE, FEATURES], ids=["thin", "live", "features"])
@pytest.mark.parametrize("place", [1, 30, -1])
def test_a_request_half_sent_is_not_cut_off(timed: Driver, before: bytes, request_: bytes, place: int) -> None:
    """The rest that a connection may have had is over as soon as something of the next request is there."""

    async def drive() -> list[Answer]:
        connected = Connected(timed.app, keep_alive=5)
        connected.feed(before)
        await connected.answered(1)
        await asyncio.sleep(4)
        connected.feed(request_[:place])
        await asyncio.sleep(20)
        connected.feed(request_[place:])
        answers = await connected.answered(2)
        connected.transport.close()
        return answers

    assert len(timed.run(drive())) == 2


def slow_application(app: Application, patch: pytest.MonkeyPatch) -> None:
    """Makes what is not answered past ASGI take eight seconds."""
    front = app.front.__class__.__call__

    async def slowly(*arguments: Any) -> None:
        await asyncio.sleep(8)
        await front(*arguments)

    patch.setattr(app.front.__class__, "__call__", slowly)


def slow_prediction(app: Application, patch: pytest.MonkeyPatch) -> None:
    """Makes each prediction that is answered past ASGI take eight seconds."""
    predictor = app.state.digitscope.loaded
    begin = predictor.begin

    def slowly(*arguments: Any, **named: Any) -> None:
        asyncio.get_running_loop().call_later(8, lambda: begin(*arguments, **named))

    patch.setattr(predictor, "begin", slowly)


@pytest.mark.parametrize("before", [b"", THIN, BAD, LIVE], ids=["first", "thin", "refused", "live"])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("slow", "request_"), [(slow_application, LIVE), (slow_prediction, THIN)], ids=["live", "thin"]
)
def test_what_takes_long_is_not_cut_off(
    timed: Driver, monkeypatch: pytest.MonkeyPatch, before: bytes, together: bool, slow: Any, request_: bytes
) -> None:
    """A connection does not rest while a request is under way, also where one before it was answered at once."""
    slow(timed.app, monkeypatch)

    async def drive() -> list[Answer]:
        connected = Connected(timed.app, keep_alive=5)
        if together:
            connected.feed(before + request_)
        else:
            connected.feed(before)
            await connected.answered(bool(before))
            connected.feed(request_)
        answers = await connected.answered(1 + bool(before))
        assert not connected.transport.is_closing()
        while not connected.transport.is_closing():
            await asyncio.sleep(0.1)
        return answers

    assert len(timed.run(drive())) == 1 + bool(before)


@pytest.mark.parametrize("error", [None, ConnectionResetError()], ids=["in order", "reset"])
@pytest.mark.parametrize("stream", [*STREAMS, THIN + THIN[:50], THIN[:50], THIN[:-1], b""])
@pytest.mark.parametrize("wait", [True, False])
def test_nothing_is_left_of_a_connection(timed: Driver, stream: bytes, error: Exception | None, wait: bool) -> None:
    """When a client has gone, however it went, no timer and nothing else holds what its connection was."""

    async def drive() -> "weakref.ref[Connection]":
        connected = Connected(timed.app, keep_alive=1000)
        connected.feed(stream)
        if wait:
            await connected.answered(stream.count(b"HTTP/1.1") - (stream in (THIN + THIN[:50], THIN[:50], THIN[:-1])))
        connected.transport.lose(error)
        await asyncio.sleep(0.1)
        assert not connected.state.connections and not connected.state.tasks
        return weakref.ref(connected.protocol)

    left = timed.run(drive())
    gc.collect()
    assert left() is None


def hold(app: Application, patch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Has predictions wait for the second event, and tells by the first that one does."""
    waits, goes_on = Event(), Event()
    predictor = app.state.digitscope.loaded
    begin, predict = predictor.begin, predictor.predict

    async def wait() -> None:
        waits.set()
        while not goes_on.is_set():
            await asyncio.sleep(0.005)

    def begin_later(*arguments: Any, **named: Any) -> None:
        waiting = asyncio.get_running_loop().create_task(wait())
        waiting.add_done_callback(lambda _: begin(*arguments, **named))

    async def predict_later(*arguments: Any, **named: Any) -> Any:
        await wait()
        return await predict(*arguments, **named)

    patch.setattr(predictor, "begin", begin_later)
    patch.setattr(predictor, "predict", predict_later)
    return waits, goes_on


PATIENCE = 60  # seconds, on a busy machine


def until(what: Callable[[], Any]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("size", [1, 40])
@pytest.mark.parametrize("known", [True, False])
def test_told_to_end_it_answers_what_is_under_way(size: int, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever way a request goes, its answer comes and says that it is the last; who only rests is let go at once."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    request = whole(INFER, bytes(size * 784), RAW)
    service = ExitStack()
    client = service.enter_context(serving(app, keep_alive=1000))
    with service, ExitStack() as connections:
        wire, resting, half = (connections.enter_context(Wire(client)) for _ in range(3))
        for one in (wire, resting) if known else ():
            one.send(request)
            one.answer()
        half.send(request[:-1])
        waits, goes_on = hold(app, monkeypatch)
        wire.send(request)
        assert waits.wait(PATIENCE)
        ending = Thread(target=service.close)
        ending.start()
        assert resting.ended()  # so it was told
        goes_on.set()
        answer = wire.answer()
        assert answer.status == 200 and answer.headers["Connection"] == "close"
        assert wire.ended()
        half.send(request[-1:])
        answer = half.answer()
        assert answer.status == 200 and answer.headers["Connection"] == "close"
        ending.join(PATIENCE)
        assert not ending.is_alive()


@pytest.mark.parametrize("sent", [THIN, THIN[:-1]], ids=["in the queue", "half sent"])
def test_what_there_is_no_time_left_for_is_told_so(driven: Driver, sent: bytes) -> None:
    """At the end of the grace period a request that is not answered yet gets a 503, as the last of its connection.

    It is counted once, though its turn comes all the same.
    """
    metrics = driven.app.state.digitscope.metrics

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        before = metrics.requests.of(metrics.totals()).sum()
        connected.feed(sent)
        connected.protocol.shutdown()
        connected.protocol.give_up()
        await asyncio.sleep(0.1)  # in which what was in the queue has its turn
        assert metrics.requests.of(metrics.totals()).sum() == before + 1
        return connected.answers()

    (answer,) = driven.run(drive())
    assert answer.status == 503 and answer.header("connection") == "close" and answer.header("retry-after") == "1"
    assert json.loads(answer.body) == {"error": "the service ends"}


def test_what_the_application_has_no_time_left_for_is_told_so(driven: Driver) -> None:
    """At the end of the grace period what it works on, or waits for, is a 504, as the last of its connection."""

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        connected.feed(FEATURES[:-1])
        await asyncio.sleep(0.05)  # so that the application has begun
        connected.protocol.shutdown()
        connected.protocol.give_up()
        return await connected.answered(1)

    (answer,) = driven.run(drive())
    assert answer.status == 504 and answer.header("connection") == "close"
    assert json.loads(answer.body) == {"error": "the time given for the request has passed"}


def test_requests_sent_ahead_count_as_held() -> None:
    """As many wait behind one another as there is room for by --max-held; one more ends the connection behind them.

    What they took is free again when they are answered, and when the connection is lost before.
    """
    app = create_app(Settings(models=MODELS, provider="cpu", max_held=128 * 4096))
    packet = LIVE * 3000

    async def drive() -> None:
        bodies = app.state.digitscope.bodies
        async with running(app):
            connected = Connected(app)
            connected.feed(packet)
            waiting = len(connected.protocol.pipeline)
            assert 32 <= waiting <= 128 and bodies.total == waiting * 4096
            assert not connected.transport.reading
            answers = await connected.answered(waiting + 2)
            assert [answer.status for answer in answers] == [200] * (waiting + 1)
            assert answers[-1].header("connection") == "close" and connected.transport.is_closing()
            await asyncio.sleep(0.01)
            assert bodies.total == 0
            lost = Connected(app)
            lost.feed(packet)
            assert bodies.total
            lost.transport.lose(ConnectionResetError())
            await asyncio.sleep(0.1)
            assert bodies.total == 0

    finish(drive())


@pytest.mark.parametrize("request_", [THIN, BAD, LIVE, THIN + LIVE, BAD + THIN])
def test_who_reads_no_answers_is_read_no_further(driven: Driver, request_: bytes) -> None:
    """What waits of a client that sends without end stays within one packet, and all is answered when it reads."""
    packet = request_ * (65536 // len(request_))
    many = packet.count(b"HTTP/1.1")

    async def drive() -> None:
        connected = Connected(driven.app)
        connected.transport.reads = False

        def reading() -> bool:
            return connected.transport.reading

        sent = 0
        for _ in range(3000):
            if reading() and sent < 300:
                connected.feed(packet)
                sent += 1
            assert len(connected.protocol.pipeline) <= many
            await asyncio.sleep(0)
        assert not reading()
        assert len(connected.transport.written) < 4 * 65536 + 400 * many
        connected.transport.read_all()
        while connected.state.total_requests < sent * many:
            assert len(connected.protocol.pipeline) <= many
            await asyncio.sleep(0)
        assert reading()
        assert len(connected.answers()) == sent * many
        connected.transport.close()

    driven.run(drive())


def test_who_reads_no_answers_harms_nobody(fresh: tuple[Application, httpx.Client]) -> None:
    """On a socket: of thousands of requests that are sent before an answer is read each is answered, as are others."""
    _, client = fresh
    number = 6000
    with Wire(client) as wire:
        sending = Thread(target=wire.send, args=(*[(THIN + LIVE) * 100] * (number // 200),))
        sending.start()
        for _ in range(20):
            assert client.get("/v2/health/live").status_code == 200
            assert client.post(INFER, content=bytes(784), headers=RAW).status_code == 200
        for count in range(number):
            assert wire.answer().status == 200, count
        sending.join(PATIENCE)
        assert not sending.is_alive()


@pytest.mark.parametrize("path", ["/v1/predict", INFER, f"/v2/models/digits/versions/{VERSION}/infer"])
@pytest.mark.parametrize("field", ["Content-Length: 784", "Content-Length: 100000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("reset", [True, False])
def test_who_leaves_in_the_middle_of_a_body_is_counted(
    fresh: tuple[Application, httpx.Client], monkeypatch: pytest.MonkeyPatch, path: str, field: str, reset: bool
) -> None:
    """It is a 499 each time, whatever way it would have gone, no error in the log, and nothing else is counted."""
    app, client = fresh
    template = path.replace("digits", "{model}").replace(f"/{VERSION}/", "/{version}/")
    came = Event()
    headers_complete = Connection.on_headers_complete

    def noting(self: Connection) -> None:
        headers_complete(self)
        came.set()

    monkeypatch.setattr(Connection, "on_headers_complete", noting)

    def counts() -> dict[int, float]:
        metrics = app.state.digitscope.metrics
        found = metrics.requests.of(metrics.tally.total())[metrics.routes.index(template)].sum(axis=0)
        return {status: number for status, number in zip(STATUSES, found, strict=True) if number}

    def is_counted(number: int) -> bool:
        return counts() == {499: number}

    parts = (b"", b"20\r\n" + bytes(32) + b"\r\n" if "chunked" in field else bytes(783))
    with structlog.testing.capture_logs() as logged:
        for number, part in enumerate(parts, start=1):
            came.clear()
            with Wire(client) as wire:
                wire.send(head("POST", path, field) + part)
                assert came.wait(PATIENCE)
                if reset:
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            until(partial(is_counted, number))
    assert logged == []
    with Wire(client) as wire:
        wire.send(THIN)
        assert wire.answer().status == 200
