"""The service's own protocol on a real socket, asked in bytes that no client library would send."""

import gzip
import http.client
import socket
from pathlib import Path

import httpx
import pytest

from tests.service.serving import Process

RAW = bytes(784)
INFER = "/v2/models/digits/infer"


def exchange(server: Process, *parts: bytes) -> bytes:
    """Everything that comes back until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_an_answer_comes_in_one_piece(server: Process) -> None:
    """Head and body are one segment: the first read has the whole answer, of a prediction and of one without a body."""
    head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 784\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        for _ in range(5):
            connection.sendall(head.encode() + b"\r\n" + RAW)
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"]}]}")
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 30_000 + b"\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nlong: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /v2?" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["many fields", "a long field", "a long path"],
)
def test_a_head_without_end_is_refused(server: Process, request_head: bytes) -> None:
    """A head that comes in parts and grows beyond 64 KB gets 431 in JSON, and the connection ends."""
    answer = exchange(server, *(request_head[start : start + 16384] for start in range(0, 81_920, 16384)))
    assert answer.startswith(b"HTTP/1.1 431 ") and b"connection: close" in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b'{"error":"the head of the request has more than 65,536 bytes"}'
    assert f"content-length: {len(body)}".encode() in head


def test_what_follows_an_upgrade_is_no_request(server: Process) -> None:
    """The body of a request that wants another protocol is never answered as a request of its own."""
    smuggled = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: " + str(len(smuggled)).encode() + b"\r\n\r\n"
    )
    assert exchange(server, head + smuggled).count(b"HTTP/1.1 ") == 1
    plain = b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    answer = exchange(server, plain)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer


def test_trailers_are_no_headers(server: Process) -> None:
    """What comes behind a chunked body changes nothing in how the request is understood."""
    answer = exchange(
        server,
        b"POST /v1/nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nX-Request-ID: evil\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 404 ") and b"evil" not in answer


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/features", INFER])
def test_a_length_of_many_digits_is_a_length(server: Process, path: str) -> None:
    """Leading zeros are none of the number, and a number of thousands of digits is a body that is too large."""
    for digits, status in (("0" * 5000 + "784", {200, 400, 415}), ("9" * 18, {413})):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", digits)
        connection.endheaders(RAW)
        answer = connection.getresponse()
        assert answer.status in status
        assert answer.read().startswith(b"{")
        connection.close()


@pytest.mark.parametrize("encoding", ["gzip", None])
@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[' + b"0," * 200_000 + b"0]}",
        b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[' + b'"",' * 200_000 + b'""],"data":[]}]}',
        b'{"inputs":[],"outputs":[' + b'{"name":1},' * 200_000 + b"{}]}",
    ],
    ids=["inputs", "shape", "outputs"],
)
def test_a_thousand_mistakes_cost_no_more_than_one(server: Process, body: bytes, encoding: str | None) -> None:
    """However much is wrong, little memory is spent on saying so: one sentence, and the process is hardly larger."""
    before = _resident(server)
    headers = {"Content-Encoding": encoding} if encoding else {}
    content = gzip.compress(body) if encoding else body
    answer = httpx.post(server.url + INFER, content=content, headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 400 and "at most 64 items" in answer.json()["error"]
    assert _resident(server) - before < 100_000


def test_json_beyond_any_request_is_not_read(server: Process) -> None:
    """More JSON than the largest request needs is refused by its length, before a single bracket is looked at."""
    body = (
        b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,1,28,28],"data":[' + b"[]," * 3_000_000 + b"[]]}]}"
    )
    answer = httpx.post(server.url + INFER, content=body, timeout=60, trust_env=False)
    assert answer.status_code == 413 and "no request of 256 images needs" in answer.json()["error"]
    packed = gzip.compress(body, 1)
    answer = httpx.post(
        server.url + INFER, content=packed, headers={"Content-Encoding": "gzip"}, timeout=60, trust_env=False
    )
    assert answer.status_code == 413


def _resident(server: Process) -> int:
    """The largest resident memory that a process of the service ever had, in KB."""
    pids = [
        server.popen.pid,
        *map(int, Path(f"/proc/{server.popen.pid}/task/{server.popen.pid}/children").read_text().split()),
    ]
    peaks = (Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0] for pid in pids)
    return max(map(int, peaks))
