"""Limits, each on a real socket: of time, of connections, of what is held for whom; one who is beyond harms nobody."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from service.shares import Shares
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import MODELS, serving
from tests.service.thin_requests import INFER, LENGTH, PREPARED
from tests.service.wire import Wire, head

PICTURE = encode(drawn())
DIGIT = head("POST", INFER, f"{LENGTH}: 0", "Content-Length: 784") + bytes(784)
KERNELS = head("GET", "/v1/model/layers/fc1/kernels?format=json")
"""What has an answer of 12 MB."""
PATIENCE = 60  # seconds, on a busy machine


@contextmanager
def limited(**settings: Any) -> Iterator[tuple[httpx.Client, Shares]]:
    """A client of an application with limits of its own, and the bodies that it holds."""
    app = create_app(Settings(models=MODELS, provider="cpu", **settings))
    with serving(app, keep_alive=60) as client:
        yield client, app.state.digitscope.bodies


@pytest.fixture(scope="module")
def impatient() -> Iterator[httpx.Client]:
    """An application that waits for nobody for longer than half a second, which it looks after once a second."""
    with limited(patience=0.5) as (client, _):
        yield client


def slow(client: httpx.Client) -> float:
    """How often somebody was too slow."""
    found = [line for line in client.get("/metrics").text.splitlines() if 'reason="Slow"' in line]
    return float(found[0].split()[-1]) if found else 0.0


def until(what: Callable[[], Any]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_reset(connection: socket.socket) -> bool:
    """Whether a connection is cut off behind what is still there to be read, and does not end in order."""
    try:
        while connection.recv(2**20):
            pass
    except ConnectionResetError:
        return True
    return False


@contextmanager
def dripping(wire: Wire, drop: bytes) -> Iterator[None]:
    """Sends drop by drop, for as long as that goes."""
    over = threading.Event()

    def drip() -> None:
        try:
            while not over.wait(0.1):
                wire.send(drop)
        except OSError:
            return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


@pytest.mark.parametrize("before", [b"", DIGIT], ids=["first", "second"])
def test_a_head_that_drips_is_cut_off(impatient: httpx.Client, before: bytes) -> None:
    """It is a 408 in JSON, counted, and the connection ends; however much comes, only its end counts."""
    count = slow(impatient)
    with Wire(impatient) as wire:
        if before:
            wire.send(before)
            assert wire.answer().status == 200
        wire.send(b"GET /v2 HTTP/1.1\r\n")
        with dripping(wire, b"a: b\r\n"):
            answer = wire.answer("GET")
        assert answer.status == 408 and answer.headers["Connection"] == "close"
        assert answer.json() == {"error": "the head of the request did not come within 0.5 s"}
        assert wire.ended()
    assert slow(impatient) == count + 1


def test_who_says_nothing_is_let_go(impatient: httpx.Client) -> None:
    """A connection on which nothing comes at all ends without a word."""
    with Wire(impatient) as wire:
        assert wire.ended()


def test_a_body_that_drips_is_cut_off(impatient: httpx.Client) -> None:
    """Whoever would have answered it: 10 bytes every 100 ms are no pace, and the connection ends."""
    with ExitStack() as stack:
        wires = {}
        for path in ("/v1/predict", INFER, "/v1/features", "/nothing"):
            for field in ("Content-Length: 100000", "Transfer-Encoding: chunked"):
                wires[path, field] = wire = stack.enter_context(Wire(impatient))
                wire.send(head("POST", path, field))
                stack.enter_context(dripping(wire, b"5\r\nhello\r\n" if "chunked" in field else b"hellohello"))
        for (path, _), wire in wires.items():
            answer = wire.answer()
            if path == "/nothing":  # which was answered before the body came
                assert answer.status == 404
            else:
                assert answer.status == 408 and answer.headers["Connection"] == "close"
                assert answer.json() == {"error": "the body of the request comes at less than 1,000 bytes a second"}
            assert wire.ended()


def test_who_keeps_pace_is_not_cut_off(impatient: httpx.Client) -> None:
    """A body that comes for three times as long as one waits for nobody is read to its end and answered."""
    with Wire(impatient) as wire:
        wire.send(head("POST", INFER, f"{LENGTH}: 0", f"Content-Length: {256 * 784}"))
        for _ in range(16):
            time.sleep(0.1)
            wire.send(bytes(16 * 784))
        assert wire.answer().status == 200


def test_who_does_not_read_is_cut_off(impatient: httpx.Client) -> None:
    """An answer of 12 MB that nobody reads is held for no longer, and who reads it by and by has it whole."""
    count = slow(impatient)
    with Wire(impatient) as wire, Wire(impatient) as reading:
        for one in (wire, reading):
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            one.send(KERNELS)
        got = b""
        while slow(impatient) == count:  # for longer than one waits, and at no great speed
            time.sleep(0.05)
            got += reading.socket.recv(50_000)
        start, _, body = got.partition(b"\r\n\r\n")
        size = int(start.lower().partition(b"content-length: ")[2].split()[0])
        assert size > 10_000_000
        while len(body) < size and (more := reading.socket.recv(2**20)):
            body += more
        assert len(body) == size and json.loads(body)["name"] == "fc1"
        assert slow(impatient) == count + 1
        assert is_reset(wire.socket)


def test_what_waits_to_be_read_is_bounded() -> None:
    """While answers beyond the budget wait, nothing is looked at inside and predictions go on; then all goes on."""
    with limited(max_unsent=2**20) as (client, _), ExitStack() as wires:
        wire = wires.enter_context(Wire(client))
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.send(KERNELS)
        until(lambda: client.post("/v1/features?format=npy", content=PICTURE).status_code == 503)
        for path in ("/v1/features", "/v1/attribution", "/v1/trace?layer=fc1&channel=0"):
            answer = client.post(path, content=PICTURE)
            assert "wait to be read already, and at most 1,048,576 may" in refused(answer, 503)
            assert answer.headers["Retry-After"] == "1"
        assert "wait to be read" in refused(client.get("/v1/model/layers/fc1/kernels?format=json"), 503)
        assert client.post(INFER, content=bytes(784), headers={LENGTH: "0"}).status_code == 200
        assert client.post("/v1/predict", content=PICTURE).status_code == 200
        wires.close()
        until(lambda: client.post("/v1/features?format=npy", content=PICTURE).status_code == 200)


LARGE = 900_000  # bytes of a body, of which one has room


@pytest.mark.parametrize("path", ["/v1/predict", INFER, "/v1/features", "/v1/operators?operator=relu"])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_have_only_so_much_room(path: str, chunked: bool) -> None:
    """Beside one large body another is refused before it is read, small ones are answered, and the room comes back."""
    with limited(max_held=2**20) as (client, bodies), ExitStack() as wires:
        fields = ("Content-Type: image/png", f"Content-Length: {LARGE}")
        first = wires.enter_context(Wire(client))
        first.send(head("POST", path, *fields), bytes(LARGE - 1))
        until(lambda: bodies.total == LARGE)
        with Wire(client) as second:
            if chunked:
                second.send(head("POST", path, "Transfer-Encoding: chunked"))
                second.send(*[b"10000\r\n" + bytes(65536) + b"\r\n"] * 4)
            else:
                second.send(head("POST", path, *fields))
            answer = second.answer()
            assert answer.status == 503 and answer.headers["Retry-After"] == "1"
            assert answer.json() == {"error": "bodies of 900,000 bytes are held already, of 1,048,576 at most"}
            if chunked and path in {"/v1/predict", INFER}:  # where what has come of it is passed over, and its rest
                second.send(b"0\r\n\r\n", DIGIT)
                assert second.answer().status == 200
            else:
                assert answer.headers["Connection"] == "close" and second.ended()
        assert client.post("/v1/predict", content=PICTURE).status_code == 200
        assert client.post(INFER, content=bytes(784), headers={LENGTH: "0"}).status_code == 200
        first.send(b"\0")
        assert first.answer().status in {400, 413, 415}  # it is no picture, but it was read
        until(lambda: bodies.total == 0)
        with Wire(client) as gone:
            gone.send(head("POST", path, *fields), bytes(LARGE - 1))
            until(lambda: bodies.total == LARGE)
        until(lambda: bodies.total == 0)


def test_one_caller_leaves_room_for_another() -> None:
    """Where one may hold no second body there is room for that of someone else, whose address is another."""
    request = head("POST", "/v1/features", f"Content-Length: {LARGE}")
    with limited(max_held=2 * LARGE) as (client, bodies), ExitStack() as wires:
        wires.enter_context(Wire(client)).send(request, b"0")
        until(lambda: bodies.total == LARGE)
        second = wires.enter_context(Wire(client))
        second.send(request)
        assert second.answer().status == 503
        address = (str(client.base_url.host), client.base_url.port)
        with socket.create_connection(address, PATIENCE, source_address=("127.0.0.2", 0)) as other:
            other.sendall(request + b"0")
            until(lambda: bodies.total == 2 * LARGE)


def test_a_refused_body_is_passed_over_only_so_far() -> None:
    """Beyond what any body may have the connection ends, though the answer said nothing of it."""
    with limited(max_held=70_000, max_body=200_000) as (client, _), Wire(client) as wire:
        wire.send(head("POST", INFER, "Transfer-Encoding: chunked"))
        wire.send(*[b"10000\r\n" + bytes(65536) + b"\r\n"] * 2)
        assert wire.answer().status == 503
        wire.send(*[b"10000\r\n" + bytes(65536) + b"\r\n"] * 2)
        assert wire.ended()


def test_many_digits_need_room_only_where_they_come_in_parts() -> None:
    """What is answered past ASGI takes room when it does not come at once, and is told so in the same words."""
    body = bytes(256 * 784)
    fields = ("Content-Type: application/octet-stream", f"Content-Length: {len(body)}")
    with limited(max_held=250_000) as (client, bodies), Wire(client) as first, Wire(client) as second:
        first.send(head("POST", "/v1/predict", *fields), body[:-1])
        until(lambda: bodies.total == len(body))
        second.send(head("POST", "/v1/predict", *fields), body[:10])
        answer = second.answer()
        assert answer.status == 503 and answer.headers["Retry-After"] == "1"
        assert answer.json() == {"error": "bodies of 200,704 bytes are held already, of 250,000 at most"}
        first.send(body[-1:])
        assert first.answer().status == 200
        assert bodies.total == 0
        second.send(
            body[10:], head("POST", "/v1/predict", *fields), body
        )  # the rest of what was refused, and once more
        assert second.answer().status == 200
        assert client.post("/v1/predict", content=body, headers=PREPARED).status_code == 200


def test_a_connection_too_many_is_refused() -> None:
    """Where one only rests it makes room for the next one; where all are in use the next one is told so."""
    with limited(max_connections=3) as (client, _), ExitStack() as wires:
        first, second, third = (wires.enter_context(Wire(client)) for _ in range(3))
        first.send(DIGIT[:-1])
        second.send(DIGIT)
        assert second.answer().status == 200
        third.send(DIGIT[:-1])
        fourth = wires.enter_context(Wire(client))
        assert second.ended()  # it has rested
        fourth.send(DIGIT[:-1])
        time.sleep(0.1)
        fifth = wires.enter_context(Wire(client))
        answer = fifth.answer()
        assert answer.status == 503 and answer.headers["Connection"] == "close"
        assert answer.json() == {"error": "3 connections are open, and no more may be"}
        assert fifth.ended()
        for wire in (first, third, fourth):
            wire.send(DIGIT[-1:])
            assert wire.answer().status == 200


GETS = (
    "/", "/docs", "/openapi.json", "/palettes.json", "/metrics", "/v1/model", "/v1/model/card", "/v1/model/layers",
    "/v1/model/layers/conv1/kernels", "/v1/model/layers/conv1/exemplars", "/v1/operators", "/v2", "/v2/health/live",
    "/v2/health/ready", "/v2/models/digits", "/v2/models/digits/ready", "/v2/models/digits/config",
    "/v2/models/digits/stats", "/v2/models/stats", "/static/main.js",
)  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_head_is_answered_where_get_is(client: httpx.Client, path: str) -> None:
    """RFC 9110, section 9.3.2: by the status and fields of GET, without a body, and the connection goes on."""
    told = client.get(path)
    with Wire(client) as wire:
        for _ in range(2):
            wire.send(head("HEAD", path))
            answer = wire.answer("HEAD")
            assert answer.status == told.status_code and answer.body == b""
            fields = {name: value for name, value in answer.headers.items() if name not in _OWN}
            assert fields == {name.title(): value for name, value in told.headers.items() if name.title() not in _OWN}
    if path in ("/v2", "/metrics", "/docs"):
        assert f'{{method="HEAD",route="{path}",status="200"}}' in client.get("/metrics").text


_OWN = {"X-Request-Id", "Date", "Content-Length"}
"""Fields in which two answers may differ: of the metrics, for one, the length changes."""


@pytest.mark.parametrize("path", ["/v1/model/layers/conv1/kernels", "/v1/model/layers/conv1/exemplars"])
def test_a_tag_may_be_in_any_field(client: httpx.Client, path: str) -> None:
    """RFC 9110, section 5.3: several fields of If-None-Match are one list."""
    tag = client.get(path).headers["ETag"]
    for tags in (['"other"', tag], [tag, '"other"'], ['"a", "b"', f'"c", W/{tag}']):
        assert client.get(path, headers=[("If-None-Match", one) for one in tags]).status_code == 304
    assert client.get(path, headers=[("If-None-Match", '"a"'), ("If-None-Match", '"b"')]).status_code == 200


def part(content: bytes, *fields: bytes, name: bytes = b"files", file: bytes = b"; filename=a") -> bytes:
    """A part of a multipart body."""
    disposition = b"Content-Disposition: form-data; name=%b%b" % (name, file)
    return b"--b\r\n" + b"\r\n".join((disposition, *fields)) + b"\r\n\r\n" + content + b"\r\n"


PARTS = {
    "files": (part(PICTURE) * 65, 413, "more than 64 pictures"),
    "ten thousand parts": (part(b"x") * 10_000, 413, "more than 64 pictures"),
    "fields": (part(b"x", file=b"") * 65, 400, "Too many fields"),
    "a large field": (part(bytes(2**20 + 1), file=b""), 400, "maximum size"),
    "a long header": (part(PICTURE, b"a: " + b"b" * 2**20), 400, "cannot be read"),
    "a long name": (part(PICTURE, name=b"n" * 2**20), 400, "cannot be read"),
    "headers": (part(PICTURE, *[b"a: b"] * 1000), 400, "cannot be read"),
    "a long line before": (b"x" * 2**20, 400, "cannot be read"),
}


@pytest.mark.parametrize("case", PARTS)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/features", "/v1/operators?operator=relu"])
def test_parts_are_bounded(client: httpx.Client, path: str, case: str) -> None:
    """By number, by size, and by what is said of them; a sentence says which."""
    body, status, sentence = PARTS[case]
    answer = client.post(path, content=body + b"--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert sentence in refused(answer, status)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"inputs":' * 50_000,
        b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,1,28,28],"data":'
        + b"[" * 2000
        + b"]" * 2000
        + b"}]}",
        b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,1,28,28],"data":[' + b"9" * 100_000 + b"]}]}",
        b'{"inputs":[{"name":"image","datatype":"FP32","shape":[1,1,28,28],"data":[1e999]}]}',
        b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[' + b"9" * 5000 + b',1,28,28],"data":[0]}]}',
        b'{"a":' + b'"' + b"x" * 200_000 + b'"}',
    ],
    ids=["deep", "deep objects", "deep data", "a long number", "a large number", "a large shape", "a long string"],
)
def test_json_is_bounded(client: httpx.Client, body: bytes) -> None:
    """By depth, which the parser itself limits to 1,024, and by what its numbers may be; each is one sentence."""
    answer = client.post(INFER, content=body, headers={"Content-Type": "application/json"})
    refused(answer, 400)


def test_json_of_more_numbers_than_any_request_is_not_read(client: httpx.Client) -> None:
    """Numbers are bounded by the images of a request: beyond 256 of them the JSON is refused by its length."""
    start = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[257,1,28,28],"data":['
    assert "images" in refused(client.post(INFER, content=start + b"0," * (257 * 784 - 1) + b"0]}]}"), 413)
    many = start + b"0," * 4_000_000 + b"0]}]}"
    assert "no request of 256 images needs" in refused(client.post(INFER, content=many), 413)
