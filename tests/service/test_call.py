"""A request as the thin routes read it: its head, its body in whatever parts, its caller there or gone."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from service.app import create_app
from service.call import Call, media_type
from service.errors import TooLargeError
from service.metrics import Metrics
from service.predictor import Predictor
from service.settings import Settings
from service.state import State
from service.tally import Tally
from tests.conftest import Mnist
from tests.service.asgi import DISCONNECT, Caller, ask, chunks, finish, running, scope
from tests.service.pictures import encode
from tests.service.serving import MODELS, serving
from tests.service.wire import Wire, head

LIMIT = 2000
INFER = "/v2/models/digits/infer"
RAW = {"Inference-Header-Content-Length": "0"}


def call(caller: Receive, **headers: str) -> Call:
    """A call with header fields, of an application that reads 2,000 bytes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    state = State(Settings(max_body=LIMIT), Metrics(Tally(), (), 1))
    asked = scope("POST", "/", named)
    return Call(asked, caller, state, dict(asked["headers"]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.booleans())
def test_a_body_in_any_parts_is_read_whole(parts: list[bytes], declared: bool) -> None:
    """However it is cut, also in empty parts, and whether its length is declared or not, each byte is at its place."""
    headers = {"content_length": str(sum(map(len, parts)))} if declared else {}

    async def main() -> bytes:
        return await call(Caller(chunks(*parts)), **headers).body()

    assert finish(main()) == b"".join(parts)


def test_a_body_in_one_part_is_not_copied() -> None:
    """Most bodies come whole, and the very bytes that the server read are handed on."""
    body = bytes(1000)

    async def main() -> None:
        assert await call(Caller(chunks(body))).body() is body

    finish(main())


@pytest.mark.parametrize("sizes", [(LIMIT + 1,), (LIMIT, 1), (1, LIMIT), (700, 700, 700)])
def test_an_undeclared_body_is_read_up_to_the_limit(sizes: tuple[int, ...]) -> None:
    """As soon as it is too large the rest is left where it is."""

    async def main() -> None:
        caller = Caller([*chunks(*map(bytes, (*sizes, 1)))[:-1], *chunks(b"never read")])
        with pytest.raises(TooLargeError, match=r"^the body has more than the 2,000 bytes that are read$"):
            await call(caller).body()
        assert caller.taken == len(sizes)

    finish(main())


@pytest.mark.parametrize("sizes", [(LIMIT,), (LIMIT - 1, 1), (LIMIT, 0), (0, LIMIT)])
def test_the_limit_itself_is_read(sizes: tuple[int, ...]) -> None:
    """2,000 bytes are within 2,000."""

    async def main() -> int:
        return len(await call(Caller(chunks(*map(bytes, sizes))), content_length=str(LIMIT)).body())

    assert finish(main()) == LIMIT


def test_a_body_declared_too_large_is_not_received() -> None:
    """The header alone decides: nothing is asked of the connection."""

    async def main() -> None:
        caller = Caller(chunks(b"x"))
        with pytest.raises(TooLargeError, match=r"^the body has more than the 2,000 bytes that are read$"):
            await call(caller, content_length=str(LIMIT + 1)).body()
        assert caller.taken == 0

    finish(main())


@pytest.mark.parametrize("declared", ["", "many", "-1", "1e9", "²"])
def test_a_length_that_is_none_is_passed_over(declared: str) -> None:
    """What is no number of bytes declares nothing, and the body is counted as it comes."""

    async def main() -> None:
        assert await call(Caller(chunks(b"abc", b"d")), content_length=declared).body() == b"abcd"
        with pytest.raises(TooLargeError):
            await call(Caller(chunks(bytes(LIMIT + 1))), content_length=declared).body()

    finish(main())


@pytest.mark.parametrize("before", [[], chunks(b"ab", b"cd")[:1]])
def test_a_caller_who_hangs_up_in_the_middle_is_told(before: list[Message]) -> None:
    """Half a body is none: the route learns that nobody waits."""

    async def main() -> None:
        with pytest.raises(ClientDisconnect):
            await call(Caller([*before, DISCONNECT])).body()

    finish(main())


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("image/png", b"image/png"),
        ("Image/PNG ; q=1", b"image/png"),
        ("multipart/form-data; boundary=B", b"multipart/form-data"),
        (";", b""),
        (None, b""),
    ],
)
def test_the_media_type_is_without_case_and_parameters(sent: str | None, expected: bytes) -> None:
    """RFC 9110, section 8.3.1."""
    assert media_type({} if sent is None else {b"content-type": sent.encode()}) == expected


def test_whether_the_caller_is_there_is_told_without_waiting() -> None:
    """Asked again and again it is there, until it has gone; asking leaves no trace on what is received next."""

    async def main() -> None:
        caller = Caller(chunks(b"body"))
        own = call(caller)
        await own.body()
        for _ in range(3):
            assert not own.gone()
        assert not caller._gone._waiters
        caller.hang_up()
        assert own.gone() and own.gone()

    finish(main())


@pytest.mark.parametrize("leaves", [True, False])
def test_a_real_connection_that_closes_is_noticed(leaves: bool) -> None:
    """Against a server's own `receive`: there while the socket is open, gone soon after it was closed, and not before.

    Asking does not take the connection's next request away either.
    """
    told: list[bool] = []
    closed = asyncio.Event()

    async def application(head: Scope, receive: Receive, send: Send) -> None:
        own = call(receive)
        own.scope = head
        assert await own.body() == b"body"
        told.extend(own.gone() for _ in range(5))
        closed_by = asyncio.get_running_loop().time() + 20
        while leaves and not own.gone():
            assert asyncio.get_running_loop().time() < closed_by
            await asyncio.sleep(0.005)
        told.append(own.gone())
        closed.set()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    with serving(application, lifespan="off") as client:
        with Wire(client) as wire:
            wire.send(head("POST", "/", "Content-Length: 4"), b"bo", b"dy")
            if not leaves:
                assert wire.answer().status == 200
                wire.send(head("POST", "/", "Content-Length: 4"), b"body")
                assert wire.answer().status == 200
            else:
                deadline = time.monotonic() + 20
                while len(told) < 5 and time.monotonic() < deadline:
                    time.sleep(0.005)
        deadline = time.monotonic() + 20
        while not closed.is_set() and time.monotonic() < deadline:
            time.sleep(0.005)
    assert told == ([False] * 5 + [True] if leaves else [False] * 12)


@contextlib.asynccontextmanager
async def open_app(**options: Any) -> AsyncIterator[FastAPI]:
    """An application with its model open."""
    async with running(create_app(Settings(models=MODELS, provider="cpu", **options))) as app:
        yield app


@pytest.mark.parametrize("path", ["/v1/predict", INFER, "/v1/features", f"{INFER}?through=routing"])
def test_who_hangs_up_before_the_end_of_the_body_is_counted_apart(path: str) -> None:
    """Nothing is answered, and the request is a 499 of its route in the metrics, and no failure."""

    async def main() -> None:
        async with open_app() as app:
            caller = Caller([*chunks(b"half", b"")[:1], DISCONNECT])
            answered = await ask(app, "POST", path, caller)
            assert answered.status == 0
            assert caller.disconnected
            metrics = (await ask(app, "GET", "/metrics")).body.decode()
            route = path.partition("?")[0].replace("digits", "{model}")
            assert f'digitscope_requests_total{{method="POST",route="{route}",status="499"}} 1.0' in metrics

    finish(main())


@pytest.fixture
def patient() -> Iterator[tuple[FastAPI, httpx.Client]]:
    """An application whose batches wait an hour for four digits, and which therefore keeps who waits in its queue."""
    app = create_app(Settings(models=MODELS, provider="cpu", max_batch=4, max_queue_delay=3_600_000_000))
    with serving(app) as client:
        yield app, client


@pytest.mark.parametrize("path", ["/v1/predict", INFER])
def test_who_leaves_the_queue_is_skipped_and_counted(patient: tuple[FastAPI, httpx.Client], path: str) -> None:
    """A client that closes its connection while it waits costs the engine nothing: 499, and the others are answered."""
    app, client = patient
    batcher = app.state.digitscope.loaded._batcher
    fields = ("Content-Type: application/octet-stream", "Inference-Header-Content-Length: 0", "Content-Length: 784")
    request = head("POST", path, *fields) + bytes(784)

    def wait_for(size: int) -> None:
        deadline = time.monotonic() + 20
        while batcher._queued.total != size:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    with Wire(client) as stays:
        stays.send(request)
        wait_for(1)
        with Wire(client) as leaves:
            leaves.send(request)
            wait_for(2)
        time.sleep(0.1)  # so that it has waited long enough to be asked for
        answer = client.post(path, content=bytes(2 * 784), headers=RAW | {"Content-Type": "application/octet-stream"})
        assert answer.status_code == 200
        assert stays.answer().status == 200
    metrics = client.get("/metrics").text
    route = path.replace("digits", "{model}")
    assert f'digitscope_requests_total{{method="POST",route="{route}",status="499"}} 1.0' in metrics
    assert f'digitscope_requests_total{{method="POST",route="{route}",status="200"}} 2.0' in metrics
    assert 'digitscope_refusals_total{reason="Gone"} 1.0' in metrics
    assert "digitscope_batch_images_sum 3.0" in metrics


@pytest.mark.parametrize(
    "path",
    [
        "/v1/features?layer=all",
        "/v1/trace?layer=fc1&channel=0",
        "/v1/attribution",
        "/v1/ablate",
        "/v1/neighbours",
        "/v1/operators?operator=relu",
        INFER,
    ],
)
@pytest.mark.parametrize("leaves", [True, False])
def test_who_leaves_while_others_look_inside_is_skipped(
    mnist: Mnist, monkeypatch: pytest.MonkeyPatch, path: str, leaves: bool
) -> None:
    """Of every route that looks inside: its work is not begun, and it is a 499; whoever stays is answered."""
    body = encode(mnist.images[0])
    if path == INFER:
        pixels: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 784}
        body = json.dumps({"inputs": [pixels], "outputs": [{"name": "conv1"}]}).encode()
    begun = []
    free = threading.Event()

    async def main() -> None:
        async with open_app() as app:
            predictor: Predictor = app.state.digitscope.predictor
            background = predictor._background
            submit = background._executor.submit

            def counted(work: Callable[[], Any]) -> Any:
                begun.append(work)
                return submit(work)

            monkeypatch.setattr(background._executor, "submit", counted)
            first = asyncio.ensure_future(predictor.look(lambda: free.wait(20)))
            caller = Caller(chunks(body))
            asked = asyncio.ensure_future(ask(app, "POST", path, caller))
            while background._unfinished.total < 2:
                await asyncio.sleep(0.005)
            if leaves:
                caller.hang_up()
            free.set()
            answered = await asked
            assert await first and len(begun) == (1 if leaves else 2)
            assert answered.status in ({0, 499} if leaves else {200})
            metrics = (await ask(app, "GET", "/metrics")).body.decode()
            assert ('digitscope_refusals_total{reason="Gone"} 1.0' in metrics) == leaves

    try:
        finish(main())
    finally:
        free.set()
