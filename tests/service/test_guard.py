"""Who may ask what, as the service answers it: keys past ASGI and by it, their rates, and other sites' pages."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from service.app import Application, create_app
from service.settings import Settings
from tests.service.asgi import Caller, chunks, finish, scope
from tests.service.connected import Connected
from tests.service.keyed import KEYS, LINES, bearing
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import MODELS, VERSION, serving
from tests.service.wire import Answer, Wire, head

PREPARED = {"Content-Type": "application/octet-stream"}
DIGIT = bytes(784)
PICTURE = encode(drawn())


@pytest.fixture
def guarded() -> Iterator[tuple[Application, httpx.Client]]:
    """A service that wants keys, whose rates nobody has used yet."""
    app = create_app(Settings(models=MODELS, provider="cpu", api_keys=LINES))
    with serving(app) as client:
        yield app, client


def counted(client: httpx.Client, line: str) -> float:
    """A count of the metrics."""
    text = client.get("/metrics", headers=bearing("metrics")).text
    return sum(float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line))


def at_once(wire: Wire, *fields: str) -> Answer:
    """The answer to a digit whose head and body come in one packet, as they are remembered."""
    wire.send(
        head("POST", "/v1/predict", "Content-Type: application/octet-stream", *fields, "Content-Length: 784") + DIGIT
    )
    return wire.answer()


def test_a_head_that_is_known_is_known_with_its_key(guarded: tuple[Application, httpx.Client]) -> None:
    """Only what came with the right key is remembered; the same head with another key, or none, is another head."""
    app, client = guarded
    with Wire(client) as wire:
        for _ in range(3):
            assert at_once(wire, f"X-API-Key: {KEYS['predict']}").status == 200
            assert at_once(wire).status == 401
            assert at_once(wire, "X-API-Key: dsk_wrong").status == 401
            assert at_once(wire, f"X-API-Key: {KEYS['inspect']}").status == 403
    ((order, _),) = app.express.heads.values()
    assert order.key is not None and order.key.name == "predict"


def test_a_known_head_is_held_to_the_rate_of_its_key(guarded: tuple[Application, httpx.Client]) -> None:
    """The second is refused though its head is remembered, past ASGI as the first was, with a time to wait."""
    app, client = guarded
    passed: list[str] = []
    entrance = app.entrance

    async def noting(scope: Any, *rest: Any) -> None:
        passed.append(scope["path"])
        await entrance(scope, *rest)

    with Wire(client) as wire:
        slow = f"Authorization: Bearer {KEYS['slow']}"
        assert at_once(wire, slow).status == 200
        assert len(app.express.heads) == 1
        app.entrance = noting
        for _ in range(3):
            answer = at_once(wire, slow)
            assert answer.status == 429
            assert json.loads(answer.body) == {"error": "this API key may ask 0.001 times a second, and has"}
            assert 900 < int(answer.headers["Retry-After"]) <= 1000
        assert at_once(wire, f"Authorization: Bearer {KEYS['all']}").status == 200
    assert passed == []
    assert counted(client, 'digitscope_refusals_total{reason="Limited"}') == 3
    assert counted(client, 'digitscope_requests_total{method="POST",route="/v1/predict",status="429"}') == 3


def test_the_rate_is_one_for_all_ways(guarded: tuple[Application, httpx.Client]) -> None:
    """What is answered by ASGI counts too, and what is handed on to it counts once."""
    _, client = guarded
    files = {"files": ("a.png", PICTURE)}  # which takes the long way
    assert client.post("/v1/predict", files=files, headers=bearing("slow")).status_code == 200
    refused(client.post("/v1/predict", files=files, headers=bearing("slow")), 429)
    refused(client.post("/v1/predict", content=DIGIT, headers=PREPARED | bearing("slow")), 429)


def test_what_is_handed_on_is_counted_once(guarded: tuple[Application, httpx.Client]) -> None:
    """A large picture is begun past ASGI, and turns out to take longer: one request is spent, and not two."""
    _, client = guarded
    large = encode(drawn().resize((1500, 1000)))
    assert client.post("/v1/predict", content=large, headers=bearing("slow")).status_code == 200
    refused(client.post("/v1/predict", content=large, headers=bearing("slow")), 429)


def test_open_routes_need_and_spend_nothing(guarded: tuple[Application, httpx.Client]) -> None:
    """With a key, with a wrong one, as often as one likes."""
    _, client = guarded
    for headers in (bearing("slow"), {"Authorization": "Bearer wrong"}, {}):
        for _ in range(3):
            assert client.get("/v2/health/ready", headers=headers).status_code == 200
    assert client.post("/v1/predict", content=DIGIT, headers=PREPARED | bearing("slow")).status_code == 200


def test_failures_are_counted_and_tell_nothing(guarded: tuple[Application, httpx.Client]) -> None:
    """By reason and by route, so that somebody who tries keys is seen; the sentence has no part of what was sent."""
    _, client = guarded
    said = {
        refused(client.post("/v1/predict", content=DIGIT, headers={b"Authorization": sent.encode()}), 401)
        for sent in ("Bearer secret-guess", "Bearer", "secret-guess", f"Bearer {KEYS['all']}x", "Bearer ü")
    }
    assert len(said) == 1 and "secret" not in said.pop()
    refused(client.get("/v1/model/card", headers=bearing("predict")), 403)
    assert counted(client, 'digitscope_refusals_total{reason="Unauthenticated"}') == 5
    assert counted(client, 'digitscope_refusals_total{reason="Forbidden"}') == 1
    assert counted(client, 'digitscope_requests_total{method="POST",route="/v1/predict",status="401"}') == 5
    assert counted(client, 'digitscope_requests_total{method="GET",route="/v1/model/card",status="403"}') == 1


def test_the_log_has_the_name_and_never_the_key() -> None:
    """Of whoever asked, past ASGI and by it; nothing that was sent as a key is there."""
    settings = Settings(models=MODELS, provider="cpu", api_keys=LINES, access_log=True)
    with structlog.testing.capture_logs() as logged, serving(create_app(settings)) as client:
        for _ in range(2):
            client.post("/v1/predict", content=DIGIT, headers=PREPARED | bearing("predict"))
        client.get("/v1/model", headers=bearing("inspect"))
        client.get("/v1/model", headers={"X-API-Key": "secret-guess"})
    lines = [event for event in logged if event["event"] == "request"]
    assert [line.get("key") for line in lines] == ["predict", "predict", "inspect", None]
    assert "secret-guess" not in str(logged) and not any(key in str(logged) for key in KEYS.values())


def test_a_route_is_the_one_that_answers() -> None:
    """Whatever a path looks like, the template by which it is guarded is the one that FastAPI leads it to."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    guard = app.state.digitscope.guard

    async def led(path: str, method: str) -> str | None:
        asked = scope(method, "/")
        asked.update(path=path, raw_path=path.encode(), app=app)

        async def send(_: Any) -> None:
            pass

        await app.beneath(asked, Caller(chunks(b"")), send)
        return getattr(asked.get("route"), "path", None)

    async def main() -> None:
        versions = f"/v2/models/digits/versions/{VERSION}"
        paths = [
            "/", "/docs", "/v1/predict", "/v1/model", "/v1/model/card", "/v1/model/card/a.png", "/v1/model/layers",
            "/v1/model/layers/conv1/kernels", "/v1/model/layers/x/exemplars", "/v2", "/v2/", "/v2/health/ready",
            "/v2/models/stats", "/v2/models/digits", "/v2/models/ready", "/v2/models/digits/ready", versions,
            f"{versions}/ready", f"{versions}/infer", "/v2/models/stats/stats", "/v2/models/versions/versions/versions",
            "/v2/models/a/versions/b/ready", "/v2/models/stats/ready", "/v2/models/a/b/c", "/metrics", "/metrics\n",
            "/v1/features\n", "/v2/models/stats\n", "/v2/models/\n/ready", "/v2/models//ready", "/v1//predict", "",
            "/v1/model/card/../x.png", "/v1/model/card/\n.png", "/v2/repository/index", "/é", "/v1/a",
        ]  # fmt: skip
        for path in paths:
            by_fastapi = {await led(path, method) for method in ("GET", "POST")} - {None}
            found = guard.route(path)
            assert by_fastapi <= {found}, path
            assert (found is None) == (not by_fastapi), path

    with structlog.testing.capture_logs():
        finish(main())


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    """A service without keys, on loopback."""
    with serving(create_app(Settings(models=MODELS, provider="cpu"))) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/features", "/nothing"])
def test_a_page_of_another_site_is_refused(plain: httpx.Client, path: str) -> None:
    """What a browser sends without asking first, a picture in a POST, with and without Sec-Fetch-Site."""
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        answer = plain.post(path, content=PICTURE, headers={"Content-Type": "text/plain", **headers})
        assert refused(answer, 403) == "a page of another site asks; --allow-origin may let it"
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_the_service_s_own_page_and_links_to_it_are_answered(plain: httpx.Client) -> None:
    """As Chromium sends them."""
    own = {"Origin": str(plain.base_url), "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert plain.post("/v1/predict", content=PICTURE, headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert plain.get("/", headers=link).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_a_name_that_was_made_to_lead_here_is_refused(plain: httpx.Client, host: str) -> None:
    """By either way, also where the same request by its right name is remembered."""
    content = {"content": DIGIT, "headers": PREPARED}
    for path in ("/v1/predict", "/v2/models/digits/infer", "/v1/features"):
        plain.post(path, **content)  # type: ignore[arg-type]
        answer = plain.post(path, content=DIGIT, headers=PREPARED | {"Host": host})
        assert refused(answer, 403) == "the Host header has a name that is not answered to; --allow-host may add it"
    assert plain.get("/v1/model", headers={"Host": host}).status_code == 403


def test_names_are_allowed_on_purpose() -> None:
    """One is, another is not; beyond loopback all are, unless some are named; * allows all."""

    def status(name: str, **given: Any) -> int:
        app = create_app(Settings(models=MODELS, **given))
        with serving(app, lifespan="off") as client:
            return client.get("/v2/health/live", headers={"Host": name}).status_code

    assert status("Digits.example:80", allow_host="digits.example") == 200
    assert status("evil.example", allow_host="digits.example") == 403
    assert status("evil.example", allow_host="*") == 200
    everywhere = "0.0.0.0"  # noqa: S104 — nothing listens there in this process
    assert status("digits.example", host=everywhere) == 200
    assert status("evil.example", host=everywhere, allow_host="digits.example") == 403
    assert status("10.0.0.7:8000", host=everywhere, allow_host="digits.example") == 200


def test_an_origin_is_allowed_on_purpose() -> None:
    """Its pages may ask before, ask, and read, headers included; those of another may not."""
    settings = Settings(models=MODELS, provider="cpu", allow_origin="https://lab.example", api_keys=LINES)  # type: ignore[arg-type]
    with serving(create_app(settings)) as client:
        mine, other = {"Origin": "https://lab.example"}, {"Origin": "https://evil.example"}
        before = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        told = client.options("/v1/predict", headers=mine | before)
        assert told.status_code == 200 and told.headers["Access-Control-Allow-Origin"] == "https://lab.example"
        assert "authorization" in told.headers["Access-Control-Allow-Headers"]
        refused_before = client.options("/v1/predict", headers=other | before)
        assert refused_before.status_code == 403 and "Access-Control-Allow-Origin" not in refused_before.headers
        for content, headers in ((DIGIT, PREPARED), (PICTURE, {})):
            answer = client.post("/v1/predict", content=content, headers=mine | headers | bearing("predict"))
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://lab.example"
            assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
            refused(client.post("/v1/predict", content=content, headers=mine | headers), 401)
            refused(client.post("/v1/predict", content=content, headers=other | headers | bearing("predict")), 403)


def test_a_connection_goes_on_after_a_refusal(plain: httpx.Client) -> None:
    """What is refused by its head has its body read, and the next request is answered."""
    with Wire(plain) as wire:
        wire.send(head("POST", "/v1/predict", "Origin: http://evil.example", "Content-Length: 784"), DIGIT)
        assert wire.answer().status == 403
        wire.send(head("POST", "/v1/predict", "Content-Type: application/octet-stream", "Content-Length: 784"), DIGIT)
        assert wire.answer().status == 200


def test_what_a_key_opened_is_kept_by_no_shared_cache(guarded: tuple[Application, httpx.Client]) -> None:
    """A proxy that knows only Authorization may keep nothing either, of files too; what is open may be kept."""
    _, client = guarded
    for path in ("/v1/model", "/v1/model/card", "/v1/model/layers/conv1/kernels"):
        answer = client.get(path, headers={"X-API-Key": KEYS["all"]})
        assert answer.status_code == 200 and "private" in answer.headers["Cache-Control"]
    assert "Cache-Control" not in client.get("/static/main.js", headers={"X-API-Key": KEYS["all"]}).headers


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    """As from the lines themselves."""
    file = tmp_path / "keys"
    file.write_text(LINES, encoding="utf-8")
    with serving(create_app(Settings(models=MODELS, provider="cpu", api_keys=str(file)))) as client:
        refused(client.get("/v1/model"), 401)
        assert client.get("/v1/model", headers=bearing("inspect")).status_code == 200


def test_requests_in_one_packet_are_each_let_in_or_not() -> None:
    """Three behind each other, the one in the middle with a wrong key: each has the answer that it would have alone."""

    async def main() -> None:
        app = create_app(Settings(models=MODELS, provider="cpu", api_keys=LINES))
        async with app.router.lifespan_context(app):
            connected = Connected(app)
            sent = b""
            for key in ("predict", None, "predict"):
                secret = KEYS[key] if key else "dsk_wrong"
                fields = ("Content-Type: application/octet-stream", "Content-Length: 784", f"X-API-Key: {secret}")
                sent += head("POST", "/v1/predict", *fields) + DIGIT
            connected.feed(sent)
            answers = await asyncio.wait_for(connected.answered(3), 20)
            assert [answer.status for answer in answers] == [200, 401, 200]
            assert "error" in json.loads(answers[1].body)

    finish(main())
