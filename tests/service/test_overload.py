"""Overload from real sockets: whoever takes what he can get keeps nobody else waiting, and nothing grows."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.digits import photograph
from client.wire import multipart
from tests.conftest import Mnist
from tests.service.greedy import Greedy
from tests.service.pictures import encode
from tests.service.serving import Process, process
from tests.service.wire import head

PREPARED = "Content-Type: application/octet-stream"
GREEDY, OTHER = "127.0.0.1", "127.0.0.2"
"""Two addresses of the loopback, and so two callers."""
ASKED = 15


def whole(body: bytes, *fields: str) -> bytes:
    """A request to predict."""
    return head("POST", "/v1/predict", f"Content-Length: {len(body)}", *fields) + body


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One worker in whose queue 16 requests of 256 images have room, and which holds 16 MB of bodies."""
    log = tmp_path_factory.mktemp("narrow") / "log"
    flags = ("--workers", "1", "--max-waiting", "4096", "--max-wait", "5", "--max-held", str(16 * 2**20))
    with process(log, *flags) as running:
        yield running


def ask(port: int, method: str, path: str, body: bytes | None = None, fields: dict[str, str] | None = None) -> int:
    """The status of an answer to the other caller, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(OTHER, 0))
    try:
        connection.request(method, path, body, fields or {})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def loads(mnist: Mnist) -> dict[str, tuple[bytes, int, int]]:
    """What a greedy caller sends, by how many connections, and how many at once on each."""
    digits = mnist.images[:256].tobytes()
    return {
        "256 images": (whole(digits, PREPARED), 64, 1),
        "pipelines": (whole(digits[:784], PREPARED), 100, 16),
        "pictures": (whole(encode(mnist.images[0]), "Content-Type: image/png"), 100, 1),
        "photographs": (whole(photograph(mnist.images[0], 1), "Content-Type: image/jpeg"), 100, 1),
    }


def test_several_requests_of_many_pictures_are_read_one_after_the_other(narrow: Process, mnist: Mnist) -> None:
    """Three of 64 pictures at once take longer than one turn may, and none is refused: they are read over several."""
    body, kind = multipart([encode(digit) for digit in mnist.images[:64]])

    def send(_: int) -> int:
        return ask(narrow.port, "POST", "/v1/predict", body, {"Content-Type": kind})

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(send, range(12))) == {200}


@pytest.mark.parametrize("load", ["256 images", "pipelines", "pictures", "photographs"])
def test_a_greedy_caller_starves_nobody(narrow: Process, mnist: Mnist, load: str) -> None:
    """While he is refused, since he has all that one may have, every single request of another one is served.

    Health, metrics and the page's own files are answered as well, and he himself is served in between.
    """
    request, connections, pipelined = loads(mnist)[load]
    digit, picture = mnist.images[1].tobytes(), encode(mnist.images[2])
    with Greedy(narrow.port, request, connections=connections, host=GREEDY, pipelined=pipelined) as greedy:
        greedy.wait(503, 20)
        refused, served = greedy.statuses[503], greedy.statuses[200]
        fields = {"Content-Type": "application/octet-stream"}
        statuses = [ask(narrow.port, "POST", "/v1/predict", digit, fields) for _ in range(ASKED)]
        statuses += [ask(narrow.port, "POST", "/v1/predict", picture) for _ in range(ASKED)]
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready", "/metrics", "/"):
            statuses += [ask(narrow.port, "GET", path) for _ in range(5)]
        greedy.wait(200, 1)
        greedy.wait(503, 1)
        assert greedy.statuses[503] > refused and greedy.statuses[200] > served
        assert set(greedy.statuses) == {200, 503}
    assert set(statuses) == {200}


def test_a_refused_body_is_passed_over(narrow: Process, mnist: Mnist) -> None:
    """The answer comes before the body does, and the connection is as good as new behind it."""
    digits = mnist.images[:256].tobytes()
    request = whole(digits, PREPARED)
    with Greedy(narrow.port, request, connections=64, host=GREEDY) as greedy:
        greedy.wait(503, 20)
        early = 0
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", narrow.port), 60, source_address=(GREEDY, 0)) as wire:
                wire.sendall(request[: -len(digits)])
                wire.settimeout(0.5)
                response = http.client.HTTPResponse(wire)
                try:
                    response.begin()
                except TimeoutError:  # it was given room, and so its body is waited for
                    continue
                assert response.status == 503 and response.headers["Retry-After"]
                assert "error" in json.loads(response.read())
                wire.settimeout(60)
                wire.sendall(digits + head("GET", "/v2/health/live"))
                follows = http.client.HTTPResponse(wire)
                follows.begin()
                assert follows.status == 200 and json.loads(follows.read()) == {"live": True}
                early += 1
        assert early


@pytest.mark.parametrize("multipart", [False, True], ids=["raw", "multipart"])
def test_memory_is_bounded(narrow: Process, mnist: Mnist, multipart: bool) -> None:
    """A gigabyte of pictures that all arrive together: each is served or refused, and a small part of it is held."""
    picture = photograph(mnist.images[0], 1) + bytes(5 * 2**20)  # what follows a JPEG is no part of it
    fields = {"Content-Type": "image/jpeg"}
    if multipart:
        opening = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        picture = opening + picture + b"\r\n--b--\r\n"
        fields = {"Content-Type": "multipart/form-data; boundary=b"}
    before = peak(narrow)
    with ThreadPoolExecutor(200) as threads:
        statuses = list(threads.map(lambda _: ask(narrow.port, "POST", "/v1/predict", picture, fields), range(200)))
    assert set(statuses) == {200, 503}
    assert peak(narrow) - before < 250


def peak(running: Process) -> float:
    """The most memory that the service ever had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{running.popen.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3
