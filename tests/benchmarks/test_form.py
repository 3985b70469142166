"""Forms of requests ask what they say, and their answers are read right."""

import httpx
import numpy as np
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.form import form
from benchmarks.server import check_answer
from tests.conftest import Mnist


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("raw", 1),
        ("raw", 256),
        ("oip-binary", 1),
        ("oip-binary", 256),
        ("oip-json", 1),
        ("png", 1),
        ("png-multipart", 1),
    ],
)
def test_this_service_answers_them(client: httpx.Client, mnist: Mnist, name: str, images: int) -> None:
    """Every body gets the digits of its labels, but for the few that the network misreads."""
    asked = form(name, images)
    found = []
    for body in asked.bodies:
        answer = client.post(asked.path, content=body, headers=dict(asked.headers))
        assert answer.status_code == 200, answer.text
        found += asked.read(answer.headers, answer.content)
    assert np.mean(found == mnist.labels[: len(found)]) > 0.98
    assert len(set(found)) == 10


def test_bodies_differ_from_each_other() -> None:
    """A server that remembers answers meets 64 different digits."""
    assert len(set(form("raw").bodies)) == len(form("raw").bodies) == 64


def test_a_binary_tensor_follows_its_header(mnist: Mnist) -> None:
    """The header's length is told, the pixels come right after it, and the answer is split in the same way."""
    asked = form("oip-binary")
    length = int(asked.headers["Inference-Header-Content-Length"])
    assert asked.bodies[1][length:] == mnist.images[1].tobytes()
    head = b'{"outputs":[{"name":"probabilities"}]}'
    body = head + np.eye(10, dtype="<f4")[7].tobytes()
    assert asked.read({"inference-header-content-length": str(len(head))}, body) == [7]


def test_requests_are_whole_http() -> None:
    """What goes over the wire has the body's own length."""
    head, _, body = form("raw").requests("127.0.0.1")[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert head.endswith(b"Content-Length: 784") and len(body) == 784


@pytest.mark.parametrize("body", [b'{"digit": 3}', b'{"error": "no"}', b"no JSON"])
def test_a_wrong_answer_keeps_a_server_from_being_measured(body: bytes) -> None:
    """The first test digit is a 7, and whoever says otherwise has no figure."""
    check_answer(form("plain-raw"), {}, b'{"digit": 7}')
    with pytest.raises(BenchmarkError, match="answer"):
        check_answer(form("plain-raw"), {}, body)
