"""What is noted about every request: its id, its count, its time; and the limit of its body."""

import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.settings import Settings
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import DATA, MODELS, Process, serving

PICTURE = encode(drawn())
PREPARED = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def fresh() -> Iterator[httpx.Client]:
    """A client of an application that has counted nothing yet."""
    with serving(create_app(Settings(models=MODELS, provider="cpu"))) as client:
        yield client


def counts(client: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the metrics by name and labels, read by Prometheus' own parser."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def count(client: httpx.Client, name: str, **labels: str) -> float:
    """One sample."""
    return counts(client)[f"digitscope_{name}", frozenset(labels.items())]


@settings(deadline=None, max_examples=25)
@given(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True))
def test_a_request_id_is_given_back(client: httpx.Client, request_id: str) -> None:
    """Whoever sends an id finds it in the answer."""
    answer = client.get("/v2/health/live", headers={"X-Request-ID": request_id})
    assert answer.headers["X-Request-ID"] == request_id


@pytest.mark.parametrize("asked", ["", "a b", "x" * 65, "a;b", "ü", "{}", 'a"b'])
def test_a_bad_request_id_is_replaced(client: httpx.Client, asked: str) -> None:
    """What might confuse a log is not repeated: a fresh id takes its place."""
    answer = client.get("/v2/health/live", headers={b"X-Request-ID": asked.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", answer.headers["X-Request-ID"])


def test_every_answer_has_an_id_of_its_own(client: httpx.Client) -> None:
    """Refusals, pages and files have one too, and no two are the same."""
    paths = ["/", "/docs", "/static/main.js", "/v1/model", "/metrics", "/nothing", "/v1/predict"]
    ids = [client.get(path).headers["X-Request-ID"] for path in paths * 2]
    ids.append(client.post("/v1/predict", content=b"hello").headers["X-Request-ID"])
    assert len(set(ids)) == len(ids)


def test_requests_are_counted_by_route_method_and_status(fresh: httpx.Client) -> None:
    """Answers and refusals alike, each once, with their time."""
    for _ in range(3):
        fresh.post("/v1/predict", content=PICTURE)
    fresh.post("/v1/predict", content=b"hello")
    fresh.get("/v1/predict")
    fresh.get("/v2/models/digits/ready")
    fresh.get("/v2/models/letters/ready")
    found = counts(fresh)
    expected = {
        ("/v1/predict", "POST", "200"): 3,
        ("/v1/predict", "POST", "415"): 1,
        ("/v2/models/{model}/ready", "GET", "200"): 1,
        ("/v2/models/{model}/ready", "GET", "404"): 1,
    }
    for labels, number in expected.items():
        assert (
            found["digitscope_requests_total", frozenset(zip(("route", "method", "status"), labels, strict=True))]
            == number
        )
    assert found["digitscope_request_seconds_count", frozenset({("route", "/v2/models/{model}/ready")})] == 2
    assert 0 < found["digitscope_request_seconds_sum", frozenset({("route", "/v1/predict")})] < 60


def test_invented_paths_and_methods_share_one_count(fresh: httpx.Client) -> None:
    """However many paths and methods somebody invents, the number of counters does not grow."""
    fresh.get("/invented")
    before = len(counts(fresh))
    for number in range(20):
        fresh.get(f"/invented/{number}")
        fresh.get(f"/static/{number}")
        fresh.get(f"/v2/models/{number}")
        fresh.request(f"INVENTED{number}", "/invented")
    assert len(counts(fresh)) - before < 60
    assert not [labels for _, labels in counts(fresh) if any("19" in value for _, value in labels)]


def test_refusals_are_counted_by_reason(fresh: httpx.Client) -> None:
    """Each error of the tree that a request meets has its own count."""
    fresh.post("/v1/predict", content=b"hello")
    fresh.post("/v1/predict", content=b"")
    fresh.post("/v1/predict", content=b"")
    fresh.post("/v1/features?layer=x", content=PICTURE)
    fresh.post("/v1/predict", content=bytes(257 * 784), headers=PREPARED)
    for reason, number in {"NotAPicture": 1, "Malformed": 2, "Unknown": 1, "TooLarge": 1}.items():
        assert count(fresh, "refusals_total", reason=reason) == number


def test_predictions_and_batches_are_counted(fresh: httpx.Client) -> None:
    """The digits that were answered, by digit, and the images that ran, by batch."""
    for _ in range(2):
        assert (
            fresh.post("/v1/predict", content=(DATA / "seven.png").read_bytes()).json()["predictions"][0]["digit"] == 7
        )
    fresh.post("/v1/predict", content=bytes(5 * 784), headers=PREPARED)
    found = counts(fresh)
    digits = {labels: value for (name, labels), value in found.items() if name == "digitscope_predictions_total"}
    assert digits[frozenset({("digit", "7")})] >= 2 and sum(digits.values()) == 7
    assert found["digitscope_batch_images_sum", frozenset()] == 7
    assert found["digitscope_batch_images_count", frozenset()] == 3


@pytest.fixture(scope="module")
def small() -> Iterator[httpx.Client]:
    """A client of an application that reads at most 2,000 bytes of body and 10,000 pixels of a picture."""
    with serving(create_app(Settings(models=MODELS, provider="cpu", max_body=2000, max_pixels=10_000))) as client:
        yield client


def conversation(client: httpx.Client, *sent: bytes) -> bytes:
    """What the service says on a connection of its own until it has answered, or closed it."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), 20) as connection:
        for part in sent:
            connection.sendall(part)
        received = b""
        while b"}" not in received and (part := connection.recv(65536)):
            received += part
    return received


TOO_LONG = b'{"error":"the body has more than the 2,000 bytes that are read"}'


def test_a_body_declared_too_large_is_refused_before_it_is_sent(small: httpx.Client) -> None:
    """The header alone is enough for a 413: not a byte of the terabyte has been sent."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000000000\r\n\r\n"
    answer = conversation(small, head)
    assert answer.startswith(b"HTTP/1.1 413 ") and TOO_LONG in answer


@pytest.mark.parametrize("kind", [b"image/png", b"application/octet-stream", b"multipart/form-data; boundary=b"])
def test_a_body_that_grows_too_large_is_refused_on_the_way(small: httpx.Client, kind: bytes) -> None:
    """Chunks with no length declared are counted: beyond the limit the answer comes, though the body has no end."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'.ljust(700)
    answer = conversation(small, head, *[b"2bc\r\n" + part + b"\r\n"] * 3)
    assert answer.startswith(b"HTTP/1.1 413 ") and TOO_LONG in answer


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/features", "/v2/models/digits/infer"])
def test_the_limit_of_a_body_is_exact_everywhere(small: httpx.Client, path: str) -> None:
    """2,000 bytes are read, whatever is made of them, and one more is not."""
    assert small.post(path, content=bytes(2000)).status_code in (400, 415)
    assert refused(small.post(path, content=bytes(2001)), 413) == "the body has more than the 2,000 bytes that are read"
    assert refused(small.post(path, content=iter([bytes(1000), bytes(1001)])), 413)


def test_the_limit_of_pixels_is_a_setting(small: httpx.Client) -> None:
    """A picture that is small in bytes and large in pixels is refused with both numbers."""
    answer = small.post("/v1/predict", content=PICTURE)
    assert refused(answer, 413) == "the picture has 300×200 pixels, and at most 10,000 are read"
    assert small.post("/v1/predict", content=encode(drawn().resize((100, 100)))).status_code == 200


def test_a_large_body_does_no_harm_to_a_real_server(server: Process) -> None:
    """33 MiB, sent whole to a process of its own, get a 413, and the same client is answered next."""
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        answer = client.post("/v1/predict", content=bytes(33 * 2**20))
        assert refused(answer, 413) == "the body has more than the 33,554,432 bytes that are read"
        assert client.post("/v1/predict", content=PICTURE).status_code == 200


def test_a_client_that_leaves_is_no_failure(fresh: httpx.Client) -> None:
    """Who hangs up in the middle of a picture is counted apart, and makes no error in the log."""
    with structlog.testing.capture_logs() as logged:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
        with socket.create_connection((fresh.base_url.host, fresh.base_url.port or 80), 20) as connection:
            connection.sendall(head + PICTURE[:100])
            time.sleep(0.2)  # so that the service has begun to read
        gone = "digitscope_requests_total", frozenset({("route", "/v1/predict"), ("method", "POST"), ("status", "499")})
        deadline = time.monotonic() + 20
        while gone not in counts(fresh):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert logged == []
    assert fresh.post("/v1/predict", content=PICTURE).status_code == 200
