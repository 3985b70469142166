"""Past ASGI: the same answers, whatever comes in whichever packets, and nothing kept that is no head."""

import asyncio
import json
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import logsumexp

from client.wire import multipart
from service.app import Application, create_app
from service.errors import EngineError
from service.image import Pixels
from service.intake import Digits
from service.log import with_request_id
from service.manifest import Manifest
from service.prediction import Prediction
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.connected import Answer, Connected
from tests.service.keyed import LINES, bearing
from tests.service.pictures import drawn, encode
from tests.service.serving import MODELS, VERSION, serving, with_thresholds
from tests.service.thin_requests import INFER, LENGTH, PREPARED, REQUESTS, infer_body
from tests.service.wire import Wire, chunked, head

RAW = {LENGTH: "0"}
GZIP = {"Accept-Encoding": "gzip"}
MAX_BODY = 2**20


def digits(number: int) -> bytes:
    """Prepared digits that differ."""
    return np.random.default_rng(number).integers(0, 256, number * 784, np.uint8).tobytes()


def reals(number: int) -> bytes:
    """A request for digits as float32 behind the JSON, all of whose outputs are to come as bytes."""
    size = number * 784 * 4
    tensor = {
        "name": "image",
        "shape": [number, 1, 28, 28],
        "datatype": "FP32",
        "parameters": {"binary_data_size": size},
    }
    asked = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return asked + struct.pack(f"<{number * 784}f", *np.linspace(0, 1, number * 784))


SMALL = drawn().resize((28, 28))
TWO = [{"name": "logits", "parameters": {"classification": 3}}, {"name": "probabilities"}]
MORE: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "32 digits": ("/v1/predict", digits(32), PREPARED),
    "33 digits": ("/v1/predict", digits(33), PREPARED),
    "256 digits": ("/v1/predict", digits(256), PREPARED),
    "32 seen": ("/v1/predict?seen=1", digits(32), PREPARED),
    "no whole digit": ("/v1/predict", bytes(785), PREPARED),
    "prepared, empty": ("/v1/predict", b"", PREPARED),
    "small picture": ("/v1/predict", encode(SMALL), {"Content-Type": "image/png"}),
    "small picture, seen as it is": ("/v1/predict?preprocess=none&seen=TRUE", encode(SMALL), {}),
    "large picture as it is": ("/v1/predict?preprocess=none", encode(drawn()), {}),
    "bomb": ("/v1/predict", encode(np.zeros((5000, 5000), np.uint8))[:4000], {}),
    "unknown query": ("/v1/predict?a=b&seen=false&", digits(1), PREPARED),
    "fragment": ("/v1/predict?a=b#&seen=true", digits(1), PREPARED),
    "a kind with parameters": ("/v1/predict", digits(2), {"Content-Type": "Application/Octet-Stream ; x=y"}),
    "blank among digits": ("/v1/predict?seen=true", digits(3) + bytes(784) + digits(2), PREPARED),
    "blank picture": ("/v1/predict", encode(np.full((40, 40), 200, np.uint8)), {}),
    "segment": ("/v1/predict?segment=true&seen=true", encode(SMALL), {}),
    "segment of a blank picture": ("/v1/predict?segment=1", encode(np.full((40, 40), 200, np.uint8)), {}),
    "segment of prepared digits": ("/v1/predict?segment=true", digits(1), PREPARED),
    "segment as it is": ("/v1/predict?segment=true&preprocess=none", encode(SMALL), {}),
    "no segment": ("/v1/predict?segment=FALSE", digits(1), PREPARED),
    "27 in json": (INFER, infer_body(27), {}),
    "32 in json": (INFER, infer_body(32).replace(b" ", b""), {}),
    "33 in json": (INFER, infer_body(33).replace(b" ", b""), {}),
    "32 raw": (INFER, digits(32), RAW),
    "33 raw": (INFER, digits(33), RAW),
    "raw, no whole digit": (INFER, bytes(785), RAW),
    "raw, empty": (INFER, b"", RAW),
    "reals": (INFER, reals(3), {LENGTH: str(len(reals(3)) - 3 * 784 * 4)}),
    "timeout": (INFER, infer_body(1, parameters={"timeout": 10**9}), {}),
    "bad timeout": (INFER, infer_body(1, parameters={"timeout": -1}), {}),
    "classes": (INFER, infer_body(2, outputs=TWO), {}),
    "classes in bytes": (INFER, infer_body(2, outputs=TWO, parameters={"binary_data_output": True}), {}),
    "compressed": (INFER, infer_body(25), GZIP),
    "compressed by deflate": (INFER, infer_body(25), {"Accept-Encoding": "deflate, gzip;q=0.5"}),
    "compressed bytes": (INFER, digits(32), RAW | GZIP),
    "not compressed": (INFER, infer_body(1), GZIP),
    "compressed not at all": (INFER, infer_body(25), {"Accept-Encoding": "gzip;q=0"}),
    "262,144 bytes": (INFER, infer_body(8).ljust(2**18), {}),
    "262,145 bytes": (INFER, infer_body(8).ljust(2**18 + 1), {}),
    "another model": ("/v2/models/letters/infer", infer_body(), {}),
    "another version": ("/v2/models/digits/versions/99/infer", infer_body(), {}),
    "an encoded path": ("/v1/%70redict", digits(1), PREPARED),
}
ALL = REQUESTS | MORE
CHUNKED = ("prepared", "no body", "no picture", "json", "raw", "maps", "32 in json", "33 raw", "262,144 bytes",
           "262,145 bytes", "too long undeclared")  # fmt: skip
DIRECT = {
    *("prepared", "no picture", "no body", "json", "version", "binary", "raw", "no json", "no output"),
    *("32 digits", "32 seen", "no whole digit", "prepared, empty", "small picture", "small picture, seen as it is"),
    *("blank among digits", "blank picture", "no segment"),
    *("27 in json", "bomb", "unknown query", "fragment", "a kind with parameters", "32 in json", "32 raw"),
    *("33 digits", "33 in json", "33 raw", "256 digits", "too many", "raw, no whole digit"),
    *("raw, empty", "reals", "timeout", "bad timeout", "classes", "classes in bytes", "compressed"),
    *("compressed by deflate", "compressed bytes", "not compressed", "compressed not at all", "262,144 bytes"),
}
"""Those that are to be answered past ASGI."""


@dataclass
class Spied:
    """An application that serves, and what its express did.

    Attributes:
        answered: how many requests it answered.
        parsed: how many heads of POST requests it was asked about.
    """

    app: Application
    client: httpx.Client
    answered: int = 0
    parsed: int = 0


@pytest.fixture(scope="module")
def express() -> Iterator[Spied]:
    """The service as it is."""
    app = create_app(Settings(models=MODELS, provider="cpu", max_body=MAX_BODY))
    with serving(app) as client, pytest.MonkeyPatch.context() as patch:
        spied = Spied(app, client)
        answer, order = app.express.answer, app.express.order

        def answering(*arguments: Any, **named: Any) -> Any:
            taken = answer(*arguments, **named)
            spied.answered += taken is not None
            return taken

        def ordering(*arguments: Any) -> Any:
            spied.parsed += arguments[0] == b"POST"
            return order(*arguments)

        patch.setattr(app.express, "answer", answering)
        patch.setattr(app.express, "order", ordering)
        yield spied


@pytest.fixture(scope="module")
def routed() -> Iterator[Spied]:
    """The same with FastAPI's routing alone."""
    app = create_app(Settings(models=MODELS, provider="cpu", max_body=MAX_BODY))
    with serving(app) as client:
        app.shortcut.destinations.clear()
        yield Spied(app, client)


def counts(client: httpx.Client) -> dict[str, float]:
    """What is counted, without times, and without what the asking itself adds."""
    kept = ("digitscope_requests_total", "digitscope_refusals_total", "digitscope_predictions", "digitscope_batch",
            "digitscope_rejections")  # fmt: skip
    found: dict[str, float] = {}
    for line in client.get("/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(kept) and "/metrics" not in name and "/stats" not in name:
            found[name] = float(value)
    (statistics,) = client.get("/v2/models/digits/stats").json()["model_stats"]
    for stage, passed in statistics["inference_stats"].items():
        found[stage] = passed["count"]
    return found


def asked_twice(spied: Spied, request: bytes, times: int = 2) -> tuple[list[Any], dict[str, float]]:
    """The answers to a request that comes twice on one connection, and what was counted for it."""
    before = counts(spied.client)
    answers: list[Any] = []
    with Wire(spied.client) as wire:
        for _ in range(times):
            wire.send(request)
            status, headers, body = wire.answer()
            assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", headers.pop("X-Request-Id"))
            assert headers.pop("Date")
            answers.append((status, headers, body))
    counted = {name: value - before.get(name, 0) for name, value in counts(spied.client).items()}
    return answers, {name: value for name, value in counted.items() if value}


def whole(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A request with the length of its body."""
    fields = {"Content-Length": str(len(body))} | headers
    return head("POST", path, *(f"{name}: {value}" for name, value in fields.items())) + body


def in_chunks(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A request whose body comes in chunks."""
    fields = {"Transfer-Encoding": "chunked"} | headers
    parts = [body[start : start + 30_000] for start in range(0, len(body), 30_000)]
    return head("POST", path, *(f"{name}: {value}" for name, value in fields.items())) + chunked(*parts)


@pytest.mark.parametrize("name", ALL)
def test_a_request_is_answered_as_by_routing(express: Spied, routed: Spied, name: str) -> None:
    """Status, headers, body and counts are the same, also of the second, whose head is known; and it is taken past.

    Which requests are answered past ASGI is written down here, and that nothing of the second is parsed.
    """
    request = whole(*ALL[name])
    times = 1 if name == "too long" else 2  # a body that never comes has no request behind it
    express.answered = express.parsed = 0
    express.app.express.heads.clear()
    assert asked_twice(express, request, times) == asked_twice(routed, request, times)
    assert express.answered == (2 if name in DIRECT else 0)
    if name in DIRECT and len(request) < 30_000:  # which comes in one packet
        assert express.parsed == 1
        assert request[: request.index(b"\r\n\r\n") + 4] in express.app.express.heads


@pytest.fixture(scope="module")
def doubting(tmp_path_factory: pytest.TempPathFactory, plain: Any, manifest: Manifest) -> Iterator[tuple[Spied, Spied]]:
    """The service with and without express, of a model whose thresholds reject half of noise each."""
    noise = np.frombuffer(digits(256), np.uint8).reshape(-1, 1, 28, 28)
    logits, probabilities = plain.run(["logits", "probabilities"], {"image": noise})
    evidence = float(np.median(logsumexp(logits.astype(float) * manifest.temperature, axis=1)))
    confidence = float(np.median(probabilities.max(axis=1)))
    models = with_thresholds(tmp_path_factory.mktemp("doubting"), evidence=evidence, confidence=confidence)
    first, second = (create_app(Settings(models=models, provider="cpu")) for _ in range(2))
    with serving(first) as one, serving(second) as other:
        second.shortcut.destinations.clear()
        yield Spied(first, one), Spied(second, other)


@pytest.mark.parametrize("number", [1, 2, 32, 33, 256])
@pytest.mark.parametrize("query", ["", "?seen=true"])
def test_rejected_digits_are_answered_as_by_routing(doubting: tuple[Spied, Spied], number: int, query: str) -> None:
    """What is rejected, for whichever reason, is the same to the byte on both ways, and so is what is counted."""
    body = digits(number)[:-784] + bytes(784)
    request = whole(f"/v1/predict{query}", body, PREPARED)
    found, counted = asked_twice(doubting[0], request)
    assert (found, counted) == asked_twice(doubting[1], request)
    reasons = [answer["reason"] for answer in json.loads(found[0][2])["predictions"]]
    assert reasons[-1] == "blank"
    assert number < 32 or {"not_a_digit", "ambiguous"} <= set(reasons)
    for reason in set(reasons) - {None}:
        assert counted[f'digitscope_rejections_total{{reason="{reason}"}}'] == 2 * reasons.count(reason)


@pytest.mark.parametrize("name", CHUNKED)
def test_a_request_in_chunks_is_answered_as_by_routing(express: Spied, routed: Spied, name: str) -> None:
    """The same, where no length is told before; each is parsed anew, as nothing tells its end but itself."""
    request = in_chunks(*ALL[name])
    express.answered = express.parsed = 0
    express.app.express.heads.clear()
    assert asked_twice(express, request) == asked_twice(routed, request)
    assert express.answered == (2 if name in DIRECT else 0)
    assert express.parsed == 2
    assert not [known for known in express.app.express.heads if b"chunked" in known]


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_an_id_of_the_caller_is_given_back(express: Spied, routed: Spied, name: str) -> None:
    """It is in the answer, whichever way; and a head with an id is not kept, as it comes only once."""
    path, body, headers = ALL[name]
    for number in range(2):
        found = []
        for spied in (express, routed):
            with Wire(spied.client) as wire:
                wire.send(whole(path, body, headers | {"X-Request-ID": f"mine-{number}"}))
                answer = wire.answer()
            assert answer.headers["X-Request-Id"] == f"mine-{number}"
            found.append((answer.status, answer.body))
        assert found[0] == found[1]
    assert not [known for known in express.app.express.heads if b"mine-" in known]


class Driver:
    """An application that runs on an event loop which goes on only as far as a test has it."""

    def __init__(self, runner: asyncio.Runner, app: Application, patience: float = 60) -> None:
        """`patience` is in seconds of that loop."""
        self.runner = runner
        self.app = app
        self._patience = patience

    def run(self, work: Any) -> Any:
        """The result of a coroutine, which is not waited for without end."""
        return self.runner.run(asyncio.wait_for(work, self._patience))


def driver(**options: Any) -> Iterator[Driver]:
    """An application that runs."""
    app = create_app(Settings(models=MODELS, provider="cpu", **options))
    with asyncio.Runner() as runner:
        opened = app.router.lifespan_context(app)
        runner.run(opened.__aenter__())
        yield Driver(runner, app)
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def driven() -> Iterator[Driver]:
    """An application for the tests that change nothing in it."""
    yield from driver()


@pytest.fixture
def own() -> Iterator[Driver]:
    """An application for one test."""
    yield from driver()


class Sent(NamedTuple):
    """A request of a stream, and what is to come of it."""

    data: bytes
    status: int
    image: int | None = None  # of those whose probabilities end the answer
    request_id: str | None = None
    keep: bool = True  # whether its head may be kept


def sent(kind: str, number: int, mnist: Mnist) -> Sent:
    """A request of a kind."""
    image, name = number % 16, f"r{number}"
    raw = mnist.images[image].tobytes()
    length, size, prepared = f"{LENGTH}: 0", "Content-Length: 784", "Content-Type: application/octet-stream"
    whole_request = head("POST", INFER, length, size) + raw
    inner = whole_request[: 2 * 784].ljust(2 * 784, b"\n")
    return {
        "raw": Sent(whole_request, 200, image),
        "with an id": Sent(
            head("POST", INFER, length, size, f"X-Request-ID: {name}") + raw, 200, image, name, keep=False
        ),
        "chunked": Sent(
            head("POST", INFER, length, "Transfer-Encoding: chunked") + chunked(raw[:300], raw[300:]),
            200,
            image,
            keep=False,
        ),
        "a request in the body": Sent(head("POST", "/v1/predict", prepared, "Content-Length: 1568") + inner, 200),
        "the end of a head in the body": Sent(head("POST", "/v1/predict", prepared, size) + b"\r\n\r\n" * 196, 200),
        "refused at once": Sent(head("POST", "/v1/predict", "Content-Length: 5") + b"hello", 415),
        "refused by its head": Sent(head("POST", "/v1/predict?seen=2", "Content-Length: 1") + b"x", 400, keep=False),
        "no body": Sent(head("POST", "/v1/predict"), 400),
        "another route": Sent(head("GET", "/v2/health/live"), 200, keep=False),
    }[kind]


KINDS = (
    *("raw", "with an id", "chunked", "a request in the body", "the end of a head in the body", "refused at once"),
    *("refused by its head", "no body", "another route"),
)


def check(answer: Answer, request: Sent, expected: Any) -> None:
    """The answer is that request's own."""
    assert answer.status == request.status
    if request.image is not None:
        found = np.frombuffer(answer.body[-40:], "<f4")
        np.testing.assert_allclose(found, expected[request.image], atol=1e-5)
    if request.request_id is not None:
        assert answer.header("x-request-id") == request.request_id


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_packets_of_any_cut_make_the_same_requests(
    driven: Driver, mnist: Mnist, plain: Any, data: st.DataObject
) -> None:
    """However requests come in packets, before or behind the answers, each is answered, in order, and once.

    Nothing is kept but whole heads of requests that may come again, with the length of what follows them. The stream is
    sent twice, the second time by heads that are known.
    """
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8))
    stream = [sent(kind, number, mnist) for number, kind in enumerate(kinds)]
    closing = data.draw(st.booleans())
    if closing:
        last = stream[-1]
        closed = last.data.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n", 1)
        stream[-1] = last._replace(data=closed, keep=False)
    heads = {}
    for request in stream:
        first, _, rest = request.data.partition(b"\r\n\r\n")
        if request.keep:
            heads[first + b"\r\n\r\n"] = len(rest)
    whole_stream = b"".join(request.data for request in stream)
    ends = np.cumsum([len(request.data) for request in stream]).tolist()
    (expected,) = plain.run(["probabilities"], {"image": mnist.images[:16, None]})

    places = st.integers(1, len(whole_stream) - 1) | st.sampled_from(ends)
    cuts = ends if data.draw(st.booleans()) else sorted(data.draw(st.sets(places, max_size=8)) | {ends[-1]})
    turns = data.draw(st.lists(st.sampled_from([0, 0, 1, 2, None]), min_size=len(cuts), max_size=len(cuts)))

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        start = 0
        for stop, count in zip(cuts, turns, strict=True):
            connected.feed(whole_stream[start:stop])
            start = stop
            if count is None:
                await connected.answered(sum(end <= stop for end in ends))
            for _ in range(count or 0):
                await asyncio.sleep(0)
        answers = await connected.answered(len(stream))
        assert connected.transport.is_closing() == closing
        if not closing:
            connected.transport.close()
        await asyncio.sleep(0)
        assert len(connected.answers()) == len(answers)
        assert connected.state.total_requests == len(stream) and not connected.state.connections
        return answers

    known = driven.app.express.heads
    known.clear()
    for _ in range(2):
        answers = driven.run(drive())
        assert len(answers) == len(stream)
        for answer, request in zip(answers, stream, strict=True):
            check(answer, request, expected)
        assert len({answer.header("x-request-id") for answer in answers}) == len(answers)
        assert {whole_head: length for whole_head, (_, length) in known.items()}.items() <= heads.items()


def test_a_head_that_comes_alone_or_in_company_is_kept_no_wrong_way(driven: Driver, mnist: Mnist) -> None:
    """Only a packet that is one whole request teaches its head, and it does."""
    raw = sent("raw", 1, mnist).data
    end = raw.index(b"\r\n\r\n") + 4
    known = driven.app.express.heads

    async def drive(packets: list[bytes]) -> None:
        known.clear()
        connected = Connected(driven.app)
        connected.feed(*packets)
        await connected.answered(b"".join(packets).count(b"POST"))
        connected.transport.close()

    packets: list[bytes]
    for packets in (
        [raw[:7], raw[7:]],
        [raw[:end], raw[end:]],
        [raw[:-1], raw[-1:]],
        [raw + raw],
        [raw + raw[:9], raw[9:]],
    ):
        driven.run(drive(packets))
        assert known == {}
    driven.run(drive([raw]))
    assert [(key, length) for key, (_, length) in known.items()] == [(raw[:end], 784)]


@pytest.mark.parametrize("before", KINDS)
def test_a_known_head_waits_its_turn(driven: Driver, mnist: Mnist, plain: Any, before: str) -> None:
    """A request whose head is known, and comes while another is under way, is answered behind it."""
    first, second, third = sent(before, 1, mnist), sent("raw", 2, mnist), sent("raw", 3, mnist)
    (expected,) = plain.run(["probabilities"], {"image": mnist.images[:16, None]})

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        connected.feed(second.data)
        await connected.answered(1)
        connected.feed(first.data, second.data, third.data)
        _, *answers = await connected.answered(4)
        connected.transport.close()
        return answers

    for answer, request in zip(driven.run(drive()), (first, second, third), strict=True):
        check(answer, request, expected)


def test_what_is_kept_is_bounded(driven: Driver) -> None:
    """Heads that differ without end are no more than 1,024 at a time, and none is longer than 1,024 bytes."""
    known = driven.app.express.heads
    known.clear()
    longest = 0

    async def drive() -> int:
        nonlocal longest
        connected = Connected(driven.app)
        most = 0
        for number in range(2500):
            connected.feed(head("POST", "/v1/predict", f"X-Number: {number}", "Content-Length: 1") + b"x")
            most = max(most, len(known))
        for length in (*range(900, 1100), 5000):
            connected.feed(head("POST", "/v1/predict", f"X-Filler: {'x' * length}", "Content-Length: 1") + b"x")
            longest = max(longest, *map(len, known))
        assert len(await connected.answered(2701)) == 2701
        connected.transport.close()
        return most

    assert driven.run(drive()) == 1024
    assert longest == 1024


def test_a_known_head_with_another_body_is_read_anew(driven: Driver, mnist: Mnist, plain: Any) -> None:
    """A head says nothing about the digits behind it: each body is answered for itself, and a bad one refused."""
    requests = [sent("raw", number, mnist) for number in range(16)]
    (expected,) = plain.run(["probabilities"], {"image": mnist.images[:16, None]})

    async def drive() -> list[Answer]:
        connected = Connected(driven.app)
        answers: list[Answer] = []
        for number, request in enumerate(requests, start=1):
            connected.feed(request.data)
            answers = await connected.answered(number)
        connected.transport.close()
        return answers

    driven.app.express.heads.clear()
    for answer, request in zip(driven.run(drive()), requests, strict=True):
        check(answer, request, expected)
    assert len(driven.app.express.heads) == 1


async def both_of(app: Application, first: bytes, second: bytes, neighbour: bytes) -> tuple[list[Answer], Answer]:
    """The answers to two requests on one connection, and to one beside the first on another: of one batch."""
    one, other = Connected(app), Connected(app)
    one.feed(first)
    other.feed(neighbour)
    await one.answered(1)
    (beside,) = await other.answered(1)
    one.feed(second)
    answers = await one.answered(2)
    one.transport.close()
    other.transport.close()
    await asyncio.sleep(0)
    return answers, beside


def batches(app: Application, patch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the engine is given from now on."""
    sizes: list[int] = []
    engine = app.state.digitscope.loaded.engine
    predict = engine.predict

    def noting(images: Any) -> Any:
        sizes.append(len(images))
        return predict(images)

    patch.setattr(engine, "predict", noting)
    return sizes


Break = Callable[[Application, pytest.MonkeyPatch], None]
BAD, GOOD = bytes(784), bytes([1]) * 784


def fails_to_read(app: Application, patch: pytest.MonkeyPatch) -> None:
    """Makes the reading of one digit fail in a way that nobody had foreseen."""

    def fail(body: bytes, *_: Any) -> Digits:
        if body == BAD:
            raise RuntimeError("secret cause")
        return Digits(body)

    patch.setattr("service.routes.predict.read_at_once", fail)
    assert app.express


def fails_to_answer(app: Application, patch: pytest.MonkeyPatch) -> None:
    """Makes the writing of one digit's answer fail so."""
    from service.routes import predict  # noqa: PLC0415

    write = predict._answer

    def fail(prediction: Prediction, pixels: Pixels, *rest: Any, **named: Any) -> Any:
        if pixels == BAD:
            raise RuntimeError("secret cause")
        return write(prediction, pixels, *rest, **named)

    patch.setattr(predict, "_answer", fail)
    assert app.express


def fails_to_begin(app: Application, patch: pytest.MonkeyPatch) -> None:
    """Makes the queue fail on it so."""
    predictor = app.state.digitscope.loaded
    begin = predictor.begin

    def fail(pixels: Pixels, *rest: Any, **named: Any) -> None:
        if pixels == BAD:
            raise RuntimeError("secret cause")
        begin(pixels, *rest, **named)

    patch.setattr(predictor, "begin", fail)


@pytest.mark.parametrize("known", [False, True], ids=["new head", "known head"])
@pytest.mark.parametrize("break_it", [fails_to_read, fails_to_answer, fails_to_begin])
def test_a_failure_is_a_500_and_harms_nobody(
    own: Driver,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[Application, pytest.MonkeyPatch], None],
    known: bool,
) -> None:
    """It is logged with its cause and the request's id, and counted; its neighbours and what follows are answered."""
    request = {digit: whole("/v1/predict", digit, PREPARED) for digit in (BAD, GOOD)}
    if known:
        own.run(both_of(own.app, request[GOOD], request[GOOD], request[GOOD]))
        assert len(own.app.express.heads) == 1
    before = _count(own.app, "/v1/predict", 500)
    break_it(own.app, monkeypatch)
    sizes = batches(own.app, monkeypatch)
    processors: list[Any] = [with_request_id, structlog.processors.format_exc_info]
    with structlog.testing.capture_logs(processors=processors) as logged:
        (failed, later), beside = own.run(both_of(own.app, request[BAD], request[GOOD], request[GOOD]))
    assert (failed.status, later.status, beside.status) == (500, 200, 200)
    assert failed.header("content-type") == "application/json"
    assert json.loads(failed.body) == {"error": "the service failed on this request; its log has the cause"}
    assert later.body == beside.body and json.loads(later.body)["predictions"]
    (line,) = logged
    assert line["request_id"] == failed.header("x-request-id")
    assert "secret cause" in line["exception"]
    assert _count(own.app, "/v1/predict", 500) == before + 1
    assert sizes[0] == (2 if break_it is fails_to_answer else 1)


def _count(app: Application, route: str, status: int) -> int:
    metrics = app.state.digitscope.metrics
    return int(metrics.tally.own[metrics._request_slots[route, "POST", status][0]])


def _refusals(app: Application, reason: str) -> int:
    metrics = app.state.digitscope.metrics
    return int(metrics.tally.own[metrics._refusal_slots[reason]])


def test_an_engine_that_fails_on_one_answers_its_neighbours(own: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose digit the engine cannot do gets a 500 that says so; who shared its batch is answered."""
    engine = own.app.state.digitscope.loaded.engine
    predict = engine.predict
    sizes: list[int] = []

    def fail(images: Any) -> Any:
        sizes.append(len(images))
        if not images.reshape(len(images), -1).any(axis=1).all():
            raise EngineError("the engine failed") from RuntimeError("secret cause")
        return predict(images)

    monkeypatch.setattr(engine, "predict", fail)
    request = {digit: whole("/v1/predict", digit, PREPARED) for digit in (BAD, GOOD)}
    processors: list[Any] = [with_request_id, structlog.processors.format_exc_info]
    with structlog.testing.capture_logs(processors=processors) as logged:
        (failed, later), beside = own.run(both_of(own.app, request[BAD], request[GOOD], request[GOOD]))
    assert (failed.status, later.status, beside.status) == (500, 200, 200)
    assert json.loads(failed.body) == {"error": "the engine failed"}
    assert sizes == [2, 1, 1, 1]
    (line,) = logged
    assert line["request_id"] == failed.header("x-request-id") and "secret cause" in line["exception"]
    assert _refusals(own.app, "Engine") == 1


def test_a_failure_over_a_head_is_a_500(own: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody had foreseen while a head was looked at is no fault of the client's request."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("secret cause")

    destinations = own.app.shortcut.destinations
    destinations["/v1/predict"] = destinations["/v1/predict"]._replace(reader=fail)
    monkeypatch.setattr("service.routes.predict._choices", fail)

    async def drive() -> list[Answer]:
        connected = Connected(own.app)
        connected.feed(whole("/v1/predict", GOOD, PREPARED), head("GET", "/v2/health/live"))
        answers = await connected.answered(2)
        connected.transport.close()
        return answers

    with structlog.testing.capture_logs() as logged:
        failed, later = own.run(drive())
    assert (failed.status, later.status) == (500, 200)
    assert len(logged) == 1


@pytest.mark.parametrize("known", [False, True], ids=["new head", "known head"])
def test_a_passed_deadline_is_a_504(own: Driver, known: bool) -> None:
    """Who gave less time than there was gets told, and is counted."""
    late = whole(INFER, infer_body(1, parameters={"timeout": 1}), {})
    timely = whole(INFER, infer_body(1, parameters={"timeout": 10**9}).ljust(len(infer_body())), {})

    async def drive() -> list[Answer]:
        connected = Connected(own.app)
        if known:
            connected.feed(late)
            await connected.answered(1)
        connected.feed(late)
        time.sleep(0.001)  # on the event loop's own thread, so that it is too late when its turn comes
        answers = await connected.answered(1 + known)
        connected.feed(timely)
        answers = await connected.answered(2 + known)
        connected.transport.close()
        return answers

    *_, told, later = own.run(drive())
    assert told.status == 504 and later.status == 200
    assert json.loads(told.body) == {"error": "the time given for the request passed before its turn came"}
    assert not [value for name, value in told.headers if name == "retry-after"]
    assert _count(own.app, "/v2/models/{model}/infer", 504) == _refusals(own.app, "Deadline") == 1 + known


@pytest.fixture
def narrow() -> Iterator[Driver]:
    """An application in which at most two images wait."""
    yield from driver(max_waiting=2)


def test_overload_is_a_503_with_a_time_to_wait(narrow: Driver) -> None:
    """Who finds the queue full is told at once, when to come again, and those in it are answered."""

    async def drive() -> tuple[list[Answer], list[Answer]]:
        connections = [Connected(narrow.app) for _ in range(4)]
        for connected in connections:
            connected.feed(whole(INFER, bytes(784), RAW))
        told = [answer for connected in connections for answer in connected.answers()]  # at once
        first = [(await connected.answered(1))[0] for connected in connections]
        for connected in connections:
            connected.feed(whole(INFER, bytes(784), RAW))
            await connected.answered(2)
        last = [connected.answers()[1] for connected in connections]
        assert [answer.status for answer in told] == [503, 503]
        for connected in connections:
            connected.transport.close()
        return first, last

    first, last = narrow.run(drive())
    assert [answer.status for answer in first] == [200, 200, 503, 503]
    assert [answer.status for answer in last] == [200] * 4
    for answer in first[2:]:
        assert json.loads(answer.body) == {"error": "2 images wait already, and at most 2 may"}
        assert answer.header("retry-after") == "1"
    assert _count(narrow.app, "/v2/models/{model}/infer", 503) == _refusals(narrow.app, "Overloaded") == 2
    assert _count(narrow.app, "/v2/models/{model}/infer", 200) == 6


@pytest.fixture
def keyed() -> Iterator[Driver]:
    """An application that asks for keys, and in which at most four images wait."""
    yield from driver(api_keys=LINES, max_waiting=4)


@pytest.mark.parametrize("known", [False, True], ids=["new heads", "known heads"])
def test_where_there_are_keys_each_is_a_caller(keyed: Driver, known: bool) -> None:
    """Who has as much as one key may have is refused, and another key is served, though both have one address."""
    first, second = (whole(INFER, bytes(784), RAW | bearing(name)) for name in ("predict", "all"))
    if known:
        keyed.run(both_of(keyed.app, first, first, first))
        keyed.run(both_of(keyed.app, second, second, second))

    async def drive() -> list[int]:
        connections = [Connected(keyed.app) for _ in range(4)]
        for connected, request in zip(connections, (first, first, first, second), strict=True):
            connected.feed(request)
        statuses = [(await connected.answered(1))[0].status for connected in connections]
        for connected in connections:
            connected.transport.close()
        return statuses

    assert keyed.run(drive()) == [200, 200, 503, 200]


def test_a_full_queue_refuses_a_request_by_its_head(narrow: Driver) -> None:
    """The answer is there before the body is, which is passed over; what follows it is answered as ever."""
    request = whole(INFER, bytes(3 * 784), RAW)

    async def drive() -> tuple[list[Answer], list[Answer]]:
        waits, refused = Connected(narrow.app), Connected(narrow.app)
        waits.feed(whole(INFER, bytes(784), RAW))
        refused.feed(request[:300])
        told = refused.answers()
        refused.feed(request[300:1000], request[1000:] + whole(INFER, bytes(784), RAW))
        assert refused.protocol.timeout_keep_alive_task is not None
        answers = await refused.answered(2)
        await waits.answered(1)
        for connected in (waits, refused):
            connected.transport.close()
        return told, answers

    told, answers = narrow.run(drive())
    assert [answer.status for answer in told] == [503]
    assert [answer.status for answer in answers] == [503, 200]
    assert json.loads(told[0].body) == {"error": "1 images wait already, and at most 2 may"}


def test_a_connection_that_is_to_end_is_refused_behind_its_body(narrow: Driver) -> None:
    """A client who is still sending when the connection ends could lose the answer."""
    request = whole(INFER, bytes(3 * 784), RAW | {"Connection": "close"})

    async def drive() -> list[Answer]:
        waits, refused = Connected(narrow.app), Connected(narrow.app)
        waits.feed(whole(INFER, bytes(784), RAW))
        refused.feed(request[:300])
        assert refused.transport.written == b""
        refused.feed(request[300:])
        assert refused.transport.is_closing()
        await waits.answered(1)
        waits.transport.close()
        return refused.answers()

    (answer,) = narrow.run(drive())
    assert answer.status == 503 and answer.header("connection") == "close"


def test_a_broken_body_of_a_refused_request_ends_the_connection(own: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one answer to it, the one that it has, and no second one."""
    state = own.app.state.digitscope
    monkeypatch.setattr(state, "settings", state.settings.model_copy(update={"max_held": 70_000}))
    opening = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def drive() -> list[Answer]:
        connected = Connected(own.app)
        connected.feed(opening + b"12000\r\n" + bytes(0x12000) + b"\r\n")
        assert [answer.status for answer in connected.answers()] == [503]
        connected.feed(b"no length\r\n")
        assert connected.transport.is_closing()
        return connected.answers()

    (answer,) = own.run(drive())
    assert json.loads(answer.body) == {"error": "bodies of 0 bytes are held already, of 70,000 at most"}
    assert state.bodies.total == 0


def test_what_waits_for_its_rest_is_held_within_bounds(own: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit whoever sends more is refused; what was sent is forgotten, as that of whoever goes is."""
    state = own.app.state.digitscope
    monkeypatch.setattr(state, "settings", state.settings.model_copy(update={"max_held": 160_000}))
    request = whole(INFER, bytes(100 * 784), RAW)
    end = request.index(b"\r\n\r\n") + 4

    async def drive() -> list[int]:
        first, second, third = (Connected(own.app) for _ in range(3))
        first.feed(request[: end + 1000])
        assert state.bodies.total == 78_400
        second.feed(request[:end], request[end : end + 400])
        third.feed(request[: end + 700])
        assert [answer.status for answer in third.answers()] == [503] and state.bodies.total == 156_800
        first.feed(request[end + 1000 :])
        third.feed(request[end + 700 :] + request)
        statuses = [answer.status for answer in await first.answered(1) + await third.answered(2)]
        assert state.bodies.total == 78_400
        second.transport.lose(None)
        await asyncio.sleep(0)
        assert state.bodies.total == 0
        for connected in (first, third):
            connected.transport.close()
        return statuses

    assert own.run(drive()) == [200, 503, 200]


def test_what_is_worked_on_is_held_though_its_caller_has_gone(own: Driver) -> None:
    """A body takes memory until the application has done with it, and so nobody has more of it by leaving early."""
    state = own.app.state.digitscope
    reading, free = state.predictor._reading, threading.Event()

    async def drive() -> None:
        for _ in range(reading._threads):
            reading._executor.submit(lambda: free.wait(60))
        connected = Connected(own.app)
        connected.feed(whole("/v1/features", bytes(900_000), {}))
        while not reading._unfinished.total:
            await asyncio.sleep(0)
        connected.transport.lose(None)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not connected.state.connections and state.bodies.total == 900_000
        free.set()
        while state.bodies.total:
            await asyncio.sleep(0.001)

    own.run(drive())


def test_large_pictures_in_tiny_files_have_places_like_others(own: Driver) -> None:
    """Thirty requests of 64 come together: so many are let in as are read in time, the rest is refused unread.

    Small pictures beside one of them have no place. What was let in is answered, though the threads were busy.
    """
    reading, free = own.app.state.digitscope.predictor._reading, threading.Event()
    tiny, small = encode(Image.new("1", (400, 400), 1)), encode(SMALL)
    assert len(tiny) < 4096
    forms = [multipart([tiny] * 64)] * 30
    mixed = multipart([small] * 32 + [tiny] + [small] * 31)

    def ask(form: tuple[bytes, str]) -> Connected:
        connected = Connected(own.app)
        connected.feed(whole("/v1/predict", form[0], {"Content-Type": form[1]}))
        return connected

    async def drive() -> tuple[float, list[int]]:
        for _ in range(reading._threads):
            reading._executor.submit(lambda: free.wait(60))
        try:
            asked = [ask(mixed)]
            while not reading._unfinished.total:
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
            assert reading._unfinished.total == 1
            asked += [ask(form) for form in forms]
            while (total := reading._unfinished.total) // 64 + sum(map(len, map(Connected.answers, asked))) < 30:
                await asyncio.sleep(0.001)
            seconds = reading._seconds / 1e6 / reading._threads
        finally:
            free.set()
        statuses = [answer.status for connected in asked for answer in await connected.answered(1)]
        for connected in asked:
            connected.transport.close()
        assert reading._unfinished.total == 0 and (total == 65 or (total > 65 and seconds <= 1))
        return total, statuses

    total, statuses = own.run(drive())
    assert statuses[0] == 200 and set(statuses) == {200, 503}
    assert statuses.count(200) == 1 + total // 64


@pytest.mark.parametrize("known", [False, True], ids=["new head", "known head"])
def test_who_leaves_the_queue_is_not_run(own: Driver, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """A caller who has gone when its turn comes costs the engine nothing, and counts as 499; others are answered."""
    request = whole(INFER, bytes(784), RAW)
    if known:
        own.run(both_of(own.app, request, request, request))
    sizes = batches(own.app, monkeypatch)

    async def drive() -> Answer:
        leaves, stays = Connected(own.app), Connected(own.app)
        leaves.feed(request)
        stays.feed(request)
        leaves.transport.lose(ConnectionResetError())
        time.sleep(0.02)  # on the event loop's own thread: the engine is busy
        (answer,) = await stays.answered(1)
        assert leaves.transport.written == b""
        stays.transport.close()
        await asyncio.sleep(0)
        assert not leaves.state.connections
        return answer

    with structlog.testing.capture_logs() as logged:
        assert own.run(drive()).status == 200
    assert sizes == [1] and logged == []
    assert _count(own.app, "/v2/models/{model}/infer", 499) == _refusals(own.app, "Gone") == 1


def test_the_version_is_in_the_path(driven: Driver) -> None:
    """The destination with a version is one of its own, with its own count."""
    path = f"/v2/models/digits/versions/{VERSION}/infer"
    before = _count(driven.app, "/v2/models/{model}/versions/{version}/infer", 200)

    async def drive() -> None:
        connected = Connected(driven.app)
        connected.feed(whole(path, bytes(784), RAW))
        (answer,) = await connected.answered(1)
        assert answer.status == 200
        connected.transport.close()

    driven.run(drive())
    assert _count(driven.app, "/v2/models/{model}/versions/{version}/infer", 200) == before + 1
