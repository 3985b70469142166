"""What Ray Serve's proxy asks again, and what not; applications that die take the place of replicas."""

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from deploy.ray.again import Again, middlewares
from tests.service.asgi import finish


class _Dying:
    """Reads the request, and ends without a word for so many times; then it answers by what it has read."""

    def __init__(self, times: int, *, before: bool = False) -> None:
        self.asked = 0
        self._times = times
        self._before = before  # it has read anything

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        scope["headers"].append((b"x-attempt", b"%d" % self.asked))
        dies = self.asked <= self._times
        if dies and self._before:
            return
        request = Request(scope, receive)
        body = await request.body()
        if not dies:
            await PlainTextResponse(f"{request.headers.getlist('x-attempt')} {len(body)}")(scope, receive, send)


def _ask(app: _Dying, body: bytes) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Again(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v1/predict", content=body)

    return finish(ask())


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_what_died_without_an_answer_is_asked_again(times: int, before: bool) -> None:
    """With the whole body and the headers of the first time, whether any of it had been read or not."""
    app = _Dying(times, before=before)
    answer = _ask(app, b"x" * 100_000)
    assert answer.status_code == 200 and answer.text == f"['{times + 1}'] 100000"
    assert app.asked == times + 1


def test_a_request_that_kills_all_is_given_up() -> None:
    """After three attempts, by an answer after which a client may ask again."""
    app = _Dying(99)
    answer = _ask(app, b"x")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1" and app.asked == 3
    assert answer.json() == {"error": "the replica that was to answer died: ask again"}


def test_long_bodies_are_not_kept() -> None:
    """One of more than 1 MiB is not asked again."""
    app = _Dying(1)
    assert _ask(app, b"x" * (2**20 + 1)).status_code == 503 and app.asked == 1
    app = _Dying(1)
    assert _ask(app, b"x" * 2**20).status_code == 200 and app.asked == 2


def test_what_has_begun_is_not_asked_again() -> None:
    """An answer that broke off behind its head cannot be taken back."""
    asked: list[int] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 — as applications are called
        asked.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    finish(Again(app)({"type": "http", "headers": []}, receive, send))
    assert len(asked) == len(sent) == 1


def test_nobody_is_asked_for_one_who_has_gone() -> None:
    """Who closed the connection gets no second attempt, and no answer."""
    asked: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 — as applications are called
        asked.append(1)
        with pytest.raises(ClientDisconnect):
            await Request(scope, receive).body()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    finish(Again(app)({"type": "http", "headers": []}, receive, send))
    assert len(asked) == 1


def test_ray_serve_is_given_it() -> None:
    """The function that the proxy calls gives a list of Starlette's middleware."""
    (middleware,) = middlewares()
    assert isinstance(middleware, Middleware) and vars(middleware)["cls"] is Again
