"""Headers that shield: on every answer, whichever way it is made, and none that tells what runs here."""

import re
from collections.abc import Mapping

import httpx
import pytest

from service.shield import HEADERS, WRITTEN
from tests.service.pictures import drawn, encode
from tests.service.serving import DATA, Process
from tests.service.wire import Wire, head

NONE_OF_ITS_OWN = "default-src 'none'; frame-ancestors 'none'"
PICTURE = encode(drawn())
ASKED: list[tuple[str, str, bytes, dict[str, str], int]] = [
    ("GET", "/", b"", {}, 200),
    ("HEAD", "/", b"", {}, 200),
    ("GET", "/docs", b"", {}, 200),
    ("GET", "/static/main.js", b"", {}, 200),
    ("GET", "/static/nothing", b"", {}, 404),
    ("GET", "/openapi.json", b"", {}, 200),
    ("GET", "/metrics", b"", {}, 200),
    ("GET", "/v1/model", b"", {}, 200),
    ("GET", "/v2/health/live", b"", {}, 200),
    ("POST", "/v1/predict", PICTURE, {}, 200),  # past ASGI
    ("POST", "/v1/predict", b"no picture", {}, 415),  # the same
    ("POST", "/v1/predict?segment=true", PICTURE, {}, 200),  # by a thin route
    ("POST", "/v1/predict?segment=x", PICTURE, {}, 400),
    ("POST", "/v1/features", PICTURE, {}, 200),
    ("POST", "/v1/features?format=svg", PICTURE, {}, 200),
    ("POST", "/v1/predict", PICTURE, {"Origin": "http://evil.example"}, 403),
    ("GET", "/nothing", b"", {}, 404),
    ("DELETE", "/v1/predict", b"", {}, 405),
    ("OPTIONS", "/v1/predict", b"", {}, 405),
]


def assert_shielded(headers: Mapping[str, str], policy: str = NONE_OF_ITS_OWN) -> None:
    """Each header is there, with its one value."""
    for name, value in HEADERS:
        expected = policy if name == b"content-security-policy" else value.decode()
        assert headers[name.decode().title()] == expected


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), ASKED)
def test_every_answer_is_shielded(
    client: httpx.Client, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    """Answers, refusals, files and pages alike; the pages by policies of their own, which name no other site."""
    answer = client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    policy = answer.headers["Content-Security-Policy"]
    page = path in ("/", "/docs")
    assert_shielded(answer.headers, policy if page else NONE_OF_ITS_OWN)
    assert "http" not in policy and "default-src" in policy and "frame-ancestors 'none'" in policy
    if page:
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "microphone=()" in answer.headers["Permissions-Policy"]
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_what_is_no_http_is_shielded(client: httpx.Client) -> None:
    """Also what is answered before there is a request."""
    for sent, status in ((b"nonsense\r\n\r\n", 400), (head("GET", "/", "X: " + "y" * 140000)[:-4], 431)):
        with Wire(client) as wire:
            wire.send(sent)
            answer = wire.answer()
            assert answer.status == status
            assert_shielded(answer.headers)


def test_both_forms_are_the_same() -> None:
    """What is written at once is what is sent header by header."""
    assert b"".join(name + b": " + value + b"\r\n" for name, value in HEADERS) == WRITTEN


def test_no_answer_tells_what_runs_here(server: Process) -> None:
    """No header and no refusal names a server, a library or a version; `/v2` has one, as the protocol asks."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for method, path, body, headers, _ in ASKED:
            answer = client.request(method, path, content=body, headers=headers)
            assert not {"server", "x-powered-by", "via"} & set(answer.headers)
            told = str(dict(answer.headers)) + (answer.text if answer.status_code >= 400 else "")
            assert not re.search(r"uvicorn|starlette|fastapi|python|pillow|/site-packages|\.py\b", told, re.IGNORECASE)
        for broken in (
            b"\x89PNG\r\n\x1a\n" + b"x" * 60,
            (DATA / "seven.png").read_bytes()[:150],
            b"GIF89a" + bytes(60),
        ):
            answer = client.post("/v1/predict", content=broken)
            assert 400 <= answer.status_code < 500
            assert not re.search(r"PIL|Error|Traceback|0x|object at|/", answer.json()["error"]), answer.text
