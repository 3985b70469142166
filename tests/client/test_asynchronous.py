"""The client for asyncio, against the application in this process by httpx's own ASGI transport, and against fakes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from client.asynchronous import AsyncClient
from client.errors import AnswerError, GivenUpError, LostError, RefusedError, RunError
from client.inference import HEADER_LENGTH
from client.transport import HttpTransport, Reply
from service.manifest import Manifest
from tests.client.fakes import FakeTransport, in_no_time, predictions, refusal
from tests.conftest import Mnist
from tests.service.asgi import finish, running
from tests.service.pictures import encode

Ask = Callable[[AsyncClient], Coroutine[Any, Any, Any]]


@asynccontextmanager
async def inside(app: FastAPI, **options: Any) -> AsyncIterator[AsyncClient]:
    """A client of the application, with no socket between."""
    async with running(app):
        transport = HttpTransport("http://inside", transport=httpx.ASGITransport(app), **options)
        async with AsyncClient(transport=transport) as client:
            yield client


def ask(app: FastAPI, question: Ask) -> Any:
    """What a client of the application is answered."""

    async def work() -> Any:
        async with inside(app) as client:
            return await question(client)

    return finish(work())


def test_prepared_digits_are_answered_as_onnx_runtime_does(app: FastAPI, mnist: Mnist, plain: Any) -> None:
    """600 digits, which go in three requests: each probability is the network's own, and in its place."""
    found = ask(app, lambda client: client.predict_digits(mnist.images[:600]))
    expected = plain.run(["probabilities"], {"image": mnist.images[:600, None]})[0]
    assert np.abs(np.array([each.probabilities for each in found]) - expected).max() < 1e-5
    assert [each.digit for each in found] == expected.argmax(axis=1).tolist()
    assert all(each.confidence == each.probabilities[each.digit] for each in found)


def test_pictures_come_back_in_their_order(app: FastAPI, mnist: Mnist) -> None:
    """130 pictures, which go in three requests, one of them alone in its own: the digits are those of the labels."""
    pictures = [encode(digit) for digit in mnist.images[:129]] + [encode(np.full((40, 40), 255, np.uint8))]
    *found, blank = ask(app, lambda client: client.predict(pictures))
    assert np.mean([each.digit == label for each, label in zip(found, mnist.labels, strict=False)]) > 0.95
    assert blank.rejected and blank.reason == "blank"
    (alone,) = ask(app, lambda client: client.predict(pictures[:1], preprocess="none"))
    assert alone.digit == mnist.labels[0] and not alone.rejected


def test_what_the_network_saw_and_the_values_of_its_layers(app: FastAPI, mnist: Mnist, reference: Any) -> None:
    """The digits that are shown are the very ones that were sent, and a layer is as ONNX's reference has it."""
    pictures = [encode(digit) for digit in mnist.images[:5]]
    _, seen = ask(app, lambda client: client.see(pictures, preprocess="none"))
    assert (seen == mnist.images[:5]).all()
    for layer, shape in (("fc1", (600,)), ("conv1", (8, 28, 28))):
        found = ask(app, partial(AsyncClient.features, digits=seen, layer=layer))
        assert found.shape == (5, *shape) and found.dtype == np.float32
        assert np.abs(found - reference(mnist.images[:5, None])[layer]).max() < 1e-4


def test_the_model_is_the_one_of_the_manifest(app: FastAPI, manifest: Manifest) -> None:
    """Its name, version, SHA-256 and the shapes of its layers."""
    found = ask(app, lambda client: client.model())
    assert found[:3] == (manifest.name, manifest.version, manifest.sha256)
    assert found.layers["conv2"] == (32, 14, 14) and found.layers["fc1"] == (600,)


@pytest.mark.parametrize(
    ("question", "status", "sentence"),
    [
        (lambda client: client.predict([b"no picture"]), 415, "this is no picture"),
        (lambda client: client.predict([encode(np.zeros((28, 28), np.uint8)), b"no picture"]), 415, r"part 2 \('2'\)"),
        (lambda client: client.features(np.zeros((1, 28, 28), np.uint8), "conv9"), 400, "conv9"),
        (lambda client: client.features(np.zeros((1, 28, 28), np.uint8), "fc1", model="cats"), 404, "cats"),
    ],
)
def test_a_refusal_has_the_sentence_of_the_service(app: FastAPI, question: Ask, status: int, sentence: str) -> None:
    """What is wrong with a request is asked once, and raised with its status and the service's own words."""
    with pytest.raises(RefusedError, match=sentence) as refused:
        ask(app, question)
    assert refused.value.status == status


def test_what_are_no_digits_is_told_before_it_is_sent() -> None:
    """Arrays of another type or shape are the caller's mistake."""
    client = AsyncClient(transport=FakeTransport(lambda *_: asyncio.sleep(0, refusal(500))))
    shapes = ((3, 27, 28), (0, 28, 28), (28, 28), (2, 784), (2, 1, 28, 28), (28, 28, 2), ())
    for wrong in (np.zeros((1, 28, 28)), *[np.zeros(shape, np.uint8) for shape in shapes]):
        with pytest.raises(ValueError, match="prepared digits are uint8"):
            finish(client.predict_digits(wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "variable", "sent"),
    [
        (None, "secret", "Bearer secret"),
        ("own", "secret", "Bearer own"),
        (None, "secret\n", "Bearer secret"),
        ("", "secret", None),
        (None, None, None),
    ],
)
def test_the_key_goes_along(
    given: str | None, variable: str | None, sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key that is given, or else the environment's, is in each request; without any there is no such header."""
    monkeypatch.delenv("DIGITSCOPE_API_KEY", raising=False)
    if variable:
        monkeypatch.setenv("DIGITSCOPE_API_KEY", variable)
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(404, json={"error": "no"})

    async def work() -> None:
        transport = HttpTransport("http://service", key=given, transport=httpx.MockTransport(handle))
        async with AsyncClient(transport=transport) as client:
            with pytest.raises(RefusedError):
                await client.model()

    finish(work())
    assert seen == [sent]


@pytest.mark.parametrize("key", ["hid den", "hid\nden", "hid\tden", "hiddén", "hidden\x7f"])
def test_a_key_that_is_none_is_never_shown(key: str) -> None:
    """One that cannot be in a header is refused before anything is sent, and the sentence does not have it."""
    with pytest.raises(RunError, match="DIGITSCOPE_API_KEY") as refused:
        HttpTransport("http://service", key=key)
    assert "hid" not in str(refused.value) and "den" not in str(refused.value)


def test_an_address_has_no_password() -> None:
    """A user or password in the address, which would be logged, is refused and not shown, also if it is no address."""
    for url in (
        "http://hidden@service",
        "http://user:hidden@service:80",
        "http://user:hidden@service:port",
        "u:hidden@x",
    ):
        with pytest.raises(RunError) as refused:
            HttpTransport(url)
        assert "hidden" not in str(refused.value) and refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (httpx.LocalProtocolError("Illegal header value b'Bearer hidden'"), RunError),
        (httpx.DecodingError("no gzip"), LostError),
        (httpx.ReadError("reset"), LostError),
    ],
)
def test_what_httpx_raises_is_told_without_secrets(error: Exception, raised: type[Exception]) -> None:
    """A request that HTTP does not allow ends the run without its text; whatever else fails may be asked again."""

    def handle(_: httpx.Request) -> httpx.Response:
        raise error

    transport = HttpTransport("http://service", transport=httpx.MockTransport(handle))
    with pytest.raises(raised) as found:
        finish(transport.send("GET", "/", b"", {}))
    assert "hidden" not in str(found.value) and (raised is LostError or found.value.__cause__ is None)


def _client(answers: Sequence[Reply | Exception], **options: Any) -> tuple[AsyncClient, FakeTransport, list[float]]:
    """A client whose service gives these answers in turn, the last one without end; and when it was asked."""
    times: list[float] = []
    left = list(answers)

    async def answer(_path: str, _body: bytes) -> Reply:
        times.append(asyncio.get_running_loop().time())
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    transport = FakeTransport(answer)
    return AsyncClient(transport=transport, **options), transport, times


def test_what_is_safe_to_repeat_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """A lost connection, 429, 502, 503 and 504 are followed by another attempt, and the log says what happened."""
    answers: list[Reply | Exception] = [
        LostError("the connection failed"),
        refusal(503),
        refusal(504),
        refusal(502),
        refusal(429),
        predictions(7),
    ]
    client, transport, _ = _client(answers)
    (found,) = in_no_time(client.predict([b"a picture"]))
    assert found.digit == 7 and transport.asked == 6 and client.repeated == 5
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "attempt 1: the connection failed", "attempt 2: 503: no", "attempt 3: 504: no", "attempt 4: 502: no",
        "attempt 5: 429: no",
    ]  # fmt: skip


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 415, 500])
def test_what_is_not_safe_or_of_no_use_is_asked_once(status: int) -> None:
    """No other 4xx, whichever, and no 500 is asked for again."""
    client, transport, _ = _client([refusal(status, retry_after="1")])
    with pytest.raises(RefusedError):
        in_no_time(client.predict([b"a picture"]))
    assert transport.asked == 1


def test_retry_after_is_honoured() -> None:
    """The next attempt comes no sooner than the service asked for."""
    client, _, times = _client([refusal(503, retry_after="7"), refusal(503, retry_after="20"), predictions(7)])
    in_no_time(client.predict([b"a picture"]))
    assert times[1] - times[0] >= 7 and times[2] - times[1] >= 20


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_more_patience_than_there_is_ends_it(status: int) -> None:
    """A Retry-After beyond all patience is told at once, with its seconds, and closes the window for nobody."""
    client, transport, _ = _client([refusal(status, retry_after="9" * 400), predictions(7)], patience=60)
    with pytest.raises(RunError, match=f"{status}: no; the service asks for 1,000,000,000 s, and patience lasts 60 s"):
        in_no_time(client.predict([b"a picture"]))
    assert transport.asked == 1
    assert finish(asyncio.wait_for(client.predict([b"a picture"]), 10))[0].digit == 7


def test_refusals_teach_the_window_nothing() -> None:
    """How soon a refusal comes says nothing of how long an answer takes: it neither grows nor shrinks by one."""
    client, _, _ = _client([refusal(400)])
    for _ in range(20):
        with pytest.raises(RefusedError):
            in_no_time(client.predict([b"a picture"]))
    assert client.window.size == 2 and not client.window._fastest


def test_an_attempt_ends_however_slowly_its_answer_drips() -> None:
    """The timeout is that of the whole answer, though each piece of it comes in time."""

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x"
            await asyncio.sleep(0.05)

    transport = HttpTransport(
        "http://service", timeout=0.3, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=drip()))
    )
    with pytest.raises(LostError, match=r"no answer in 0\.3 s"):
        finish(transport.send("GET", "/", b"", {}))


def test_an_answer_of_another_model_ends_it() -> None:
    """A service that changes its version in the middle would mix answers of two models."""
    client, _, _ = _client([predictions(7), predictions(7, version="3")])

    async def work() -> None:
        await client.predict([b"a picture"])
        await client.predict([b"a picture"])

    with pytest.raises(RunError, match="version 3 now, and by 2 before"):
        in_no_time(work())


def test_the_values_of_a_layer_are_of_the_model_that_predicted() -> None:
    """Where the model changes between a prediction and the values of its layer, they are not put into one row."""
    head = (
        b'{"model_name":"digits","model_version":"3","outputs":[{"name":"fc2","datatype":"FP32","shape":[1,10],'
        b'"parameters":{"binary_data_size":40}}]}'
    )
    client, _, _ = _client([predictions(7), Reply(200, {HEADER_LENGTH.lower(): str(len(head))}, head + bytes(40))])

    async def work() -> None:
        await client.predict([b"a picture"])
        await client.features(np.zeros((1, 28, 28), np.uint8), "fc2")

    with pytest.raises(RunError, match="version 3 now, and by 2 before"):
        in_no_time(work())


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"model":{"version":"2"},"predictions":[]}',
        b'{"model":{"version":"2"},"predictions":[{}]}',
        predictions(7).body.replace(b'"digit":7', b'"digit":10'),
        predictions(7).body.replace(b'"digit":7', b'"digit":true'),
        predictions(7).body.replace(b"[0.0,", b"["),
        predictions(7).body.replace(b'"confidence":1.0', b'"confidence":"1"'),
    ],
)
def test_an_answer_that_is_none_is_told(body: bytes) -> None:
    """Whatever else answers under that address, too few predictions, or one of no digit, is an error of its own."""
    client, _, _ = _client([Reply(200, {}, body)])
    with pytest.raises(AnswerError):
        in_no_time(client.predict([b"a picture"]))


def test_patience_ends() -> None:
    """A service that stays away is given up after as long as was said, and nothing else was answered meanwhile."""
    client, transport, _ = _client([refusal(503, "busy")], patience=0.3)
    with pytest.raises(GivenUpError, match="busy") as given_up:
        in_no_time(client.predict([b"a picture"]))
    assert transport.asked >= 2 and not given_up.value.alone
