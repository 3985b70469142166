"""Thin routes: the same answers by the shortcut and through FastAPI's own routing, on the wire as in the document."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import Application, create_app
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.asgi import Answered, ask, finish, running
from tests.service.refusals import refused
from tests.service.serving import MODELS, VERSION, serving
from tests.service.thin_requests import ANSWERED, INFER, LENGTH, PREPARED, REQUESTS
from tests.service.wire import Wire, chunked, head


async def both_ways(body: bytes, path: str, headers: dict[str, str]) -> list[Answered]:
    """The answers by the shortcut and by FastAPI's routing, each of an application of its own, with its metrics."""
    answers = []
    for short in (True, False):
        app = create_app(Settings(models=MODELS, provider="cpu", max_body=2**20))
        async with running(app):
            past: list[str] = []
            beneath = app.front._app

            async def noting(scope: Any, *rest: Any, past: list[str] = past, beneath: Any = beneath) -> None:
                past.append(scope["path"])
                await beneath(scope, *rest)

            app.front._app = noting
            if not short:
                app.shortcut.destinations.clear()
            answers.append(await ask(app, "POST", path, body, headers | {"X-Request-ID": "same"}))
            assert past == ([] if short else [path.partition("?")[0]])
            answers.append(await ask(app, "GET", "/metrics"))
    return answers


def counted(answered: Answered) -> list[str]:
    """The requests, refusals, digits and runs of the metrics, without times."""
    kept = ("digitscope_requests_total", "digitscope_refusals_total", "digitscope_predictions", "digitscope_batch",
            "digitscope_rejections")  # fmt: skip
    lines = answered.body.decode().splitlines()
    return [line for line in lines if line.startswith(kept) and "/metrics" not in line]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_shortcut_answers_as_routing_does(name: str) -> None:
    """Status, headers, body and what is counted are the same to the byte, for what is answered and what is refused."""
    path, body, headers = REQUESTS[name]
    short, short_counts, routed, routed_counts = finish(both_ways(body, path, headers))
    assert (short.status, short.headers, short.body) == (routed.status, routed.headers, routed.body)
    assert short.headers["X-Request-Id"] == "same"
    assert counted(short_counts) == counted(routed_counts)
    template = path.partition("?")[0].replace("digits", "{model}").replace(f"/{VERSION}/", "/{version}/")
    assert f'route="{template}",status="{short.status}"' in "\n".join(counted(short_counts))
    assert short.status == (200 if name in ANSWERED else short.status)
    if short.status != 200:
        assert list(short.json) == ["error"] and short.status in (400, 413, 415)


@pytest.fixture(scope="module")
def version(client: httpx.Client) -> str:
    """The version that serves."""
    found: str = client.get("/v2/models/digits").json()["versions"][0]
    return found


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/v1/predict", INFER, "/v2/models/digits/versions/{version}/infer"])
def test_a_thin_route_answers_to_post_alone(client: httpx.Client, version: str, method: str, path: str) -> None:
    """Every other method is a 405 that names the one which is answered."""
    path = path.format(version=version)
    answer = client.request(method, path)
    assert refused(answer, 405) == f"{method} is not answered at {path}"
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    ["/v1/predict/", "//v1/predict", "/V1/predict", f"{INFER}/", "/v2/models/digits//infer", "/v2/models//infer"],
)
def test_a_path_that_is_not_exactly_it_is_not_it(client: httpx.Client, path: str) -> None:
    """A slash more, or another case, is a 404 and no redirect."""
    with Wire(client) as wire:
        wire.send(head("POST", path, "Content-Length: 0"))
        answer = wire.answer()
    assert answer.status == 404 and list(json.loads(answer.body)) == ["error"]


@pytest.mark.parametrize("path", ["/v1/%70redict", "/v2/models/%64igits/infer", INFER, f"{INFER}?a=b"])
def test_an_encoded_path_is_the_same_path(client: httpx.Client, path: str) -> None:
    """RFC 3986, section 2.3: a letter may be written by its number; a query changes nothing."""
    with Wire(client) as wire:
        wire.send(head("POST", path, f"{LENGTH}: 0", "Content-Type: application/octet-stream", "Content-Length: 784"))
        wire.send(bytes(784))
        assert wire.answer().status == 200


@pytest.mark.parametrize("path", ["/v1/predict", INFER])
def test_an_id_is_given_back_on_every_way(client: httpx.Client, path: str) -> None:
    """A caller's own id is in the answer, a bad one is replaced, and refusals have one too."""
    for content, status in ((bytes(784), 200), (b"x", 400)):
        headers = PREPARED | {LENGTH: "0", "X-Request-ID": "mine.1"}
        answer = client.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.headers.get_list("X-Request-ID")) == (status, ["mine.1"])
        ids = [
            client.post(path, content=content, headers=headers | {"X-Request-ID": bad}).headers["X-Request-ID"]
            for bad in ("a b", "x" * 65)
        ]
        assert len(set(ids)) == 2 and not {"a b", "x" * 65} & set(ids)


def test_chunks_are_put_together(client: httpx.Client, mnist: Mnist, plain: Any) -> None:
    """A body of unknown length, sent in parts of any size, is answered as a whole one."""
    image = mnist.images[7]
    body = image.tobytes()
    for path, key in (("/v1/predict", "predictions"), (INFER, "outputs")):
        with Wire(client) as wire:
            fields = (f"{LENGTH}: 0", "Content-Type: application/octet-stream", "Transfer-Encoding: chunked")
            wire.send(head("POST", path, *fields), chunked(body[:1], body[1:300], body[300:783], body[783:]))
            answer = wire.answer()
        assert answer.status == 200 and key.encode() in answer.body
    (expected,) = plain.run(["probabilities"], {"image": image[None, None]})
    np.testing.assert_allclose(np.frombuffer(answer.body[-40:], "<f4"), expected[0], atol=1e-5)


def test_pipelined_requests_are_answered_in_order(client: httpx.Client, mnist: Mnist, plain: Any) -> None:
    """Several requests sent before the first answer, thin ones and others, are answered one after the other."""
    images = mnist.images[:4]
    (expected,) = plain.run(["logits"], {"image": images[:, None]})
    with Wire(client) as wire:
        sent = b""
        for number, image in enumerate(images):
            fields = (f"{LENGTH}: 0", f"X-Request-ID: r{number}", "Content-Length: 784")
            sent += head("POST", INFER, *fields) + image.tobytes() + head("GET", "/v2/health/live")
        wire.send(sent)
        for number in range(4):
            answer = wire.answer()
            assert (answer.status, answer.headers["X-Request-Id"]) == (200, f"r{number}")
            logits = np.frombuffer(answer.body[-80:-40], "<f4")
            np.testing.assert_allclose(logits, expected[number], atol=1e-4)
            assert json.loads(wire.answer("GET").body) == {"live": True}


@pytest.mark.parametrize("path", ["/v1/predict", INFER, "/v2/health/live", "/nothing"])
def test_head_has_no_body_and_the_connection_goes_on(client: httpx.Client, path: str) -> None:
    """The answer to HEAD is a head alone, whatever it says, and the next request on the connection is answered."""
    with Wire(client) as wire:
        wire.send(head("HEAD", path) + head("GET", "/v2/health/live"))
        first = wire.answer("HEAD")
        assert first.status == {"/nothing": 404, "/v2/health/live": 200}.get(path, 405) and first.body == b""
        assert json.loads(wire.answer("GET").body) == {"live": True}


def test_a_refused_body_does_not_become_the_next_request(client: httpx.Client) -> None:
    """What follows of a body that was refused by its head is passed over, and the connection is of use again."""
    body = b"GET /nothing HTTP/1.1\r\n\r\n".ljust(784)
    with Wire(client) as wire:
        wire.send(head("POST", f"{INFER}x", "Content-Length: 784"), body, head("GET", "/v2/health/live"))
        assert wire.answer().status == 404
        assert json.loads(wire.answer("GET").body) == {"live": True}


def test_an_old_client_is_answered_and_let_go(client: httpx.Client) -> None:
    """HTTP/1.0 has no connection that stays open."""
    with Wire(client) as wire:
        wire.send(f"POST {INFER} HTTP/1.0\r\n{LENGTH}: 0\r\nContent-Length: 784\r\n\r\n".encode(), bytes(784))
        assert wire.answer().status == 200
        assert wire.ended()


@pytest.fixture(scope="module")
def closed() -> Iterator[tuple[Application, httpx.Client]]:
    """An application whose model was never opened."""
    app = create_app(Settings(models=MODELS))
    with serving(app, lifespan="off") as client:
        yield app, client


@pytest.mark.parametrize("path", ["/v1/predict", INFER, "/v2/models/letters/infer"])
def test_before_the_model_is_open_thin_routes_say_so(closed: tuple[Application, httpx.Client], path: str) -> None:
    """There is no shortcut yet, and the answer is a 503 with a time to wait."""
    app, client = closed
    answer = client.post(path, content=bytes(784), headers={LENGTH: "0"})
    assert refused(answer, 503) == "the model is not loaded"
    assert answer.headers["Retry-After"] == "1"
    assert app.shortcut.destinations == {}
