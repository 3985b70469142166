"""The time that a request may take: as a whole, by the service's setting or the caller's header, on every route."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.call import time_allowed
from service.errors import MalformedError
from service.settings import Settings
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import MODELS, serving
from tests.service.thin_requests import INFER, LENGTH, PREPARED, infer_body
from tests.service.wire import Wire, head

PICTURE = encode(drawn())
LOOKING = (
    "/v1/features?layer=all",
    "/v1/trace?layer=fc1&channel=0",
    "/v1/attribution",
    "/v1/ablate",
    "/v1/neighbours",
    "/v1/operators?operator=relu",
)
POSTED = ("/v1/predict", INFER, "/v1/predict?segment=true", *LOOKING)
TOO_LATE = {"error": "the time given for the request has passed"}


@pytest.mark.parametrize("path", POSTED)
@pytest.mark.parametrize("field", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_body_that_comes_too_late_is_a_504(client: httpx.Client, path: str, field: str) -> None:
    """The time begins with the head: a caller who gives 50 ms and sends half of a body is told when they are over."""
    with Wire(client) as wire:
        wire.send(head("POST", path, "X-Request-Timeout: 0.05", field))
        wire.send(b"3\r\nabc\r\n" if "chunked" in field else b"half")
        answer = wire.answer()
        assert answer.status == 504 and answer.json() == TOO_LATE


@pytest.mark.parametrize("given", ["", "0", "0.0", "-1", "1e3", "soon", "nan", "inf", "1.", "1,5", "1" * 10])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/predict"), ("POST", INFER), ("GET", "/v2/health/live")])
def test_a_time_that_is_none_is_refused(client: httpx.Client, method: str, path: str, given: str) -> None:
    """It is a number of seconds, on the routes that are answered past ASGI as on those that are not."""
    headers = PREPARED | {LENGTH: "0", "X-Request-Timeout": given}
    answer = client.request(method, path, content=bytes(784) if method == "POST" else None, headers=headers)
    assert refused(answer, 400) == "X-Request-Timeout is to be a number of seconds above 0, such as 0.5"


@pytest.mark.parametrize("path", ["/v1/predict", INFER])
def test_who_gives_time_enough_is_answered(client: httpx.Client, path: str) -> None:
    """Also when the same head comes again, and is known."""
    for _ in range(3):
        answer = client.post(path, content=bytes(784), headers=PREPARED | {LENGTH: "0", "X-Request-Timeout": "30.5"})
        assert answer.status_code == 200


def test_the_shorter_time_counts() -> None:
    """A caller can give the service less time than it gives itself, and not more."""
    assert time_allowed({}, 60) == 60
    assert time_allowed({b"x-request-timeout": b"2.5"}, 60) == 2.5
    assert time_allowed({b"x-request-timeout": b"100"}, 60) == 60
    with pytest.raises(MalformedError):
        time_allowed({b"x-request-timeout": b"\xff"}, 60)


@pytest.fixture
def hurried() -> Iterator[tuple[FastAPI, httpx.Client]]:
    """An application that gives a request 0.4 s."""
    app = create_app(Settings(models=MODELS, provider="cpu", timeout=0.4))
    with serving(app) as client:
        yield app, client


class Busy:
    """Has the thread that looks inside do something without end."""

    def __init__(self, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
        thread = app.state.digitscope.predictor._background._executor
        self._free = threading.Event()
        self._submit = submit = thread.submit
        self.begun = 0

        def counted(work: Callable[[], Any]) -> Any:
            self.begun += 1
            return submit(work)

        monkeypatch.setattr(thread, "submit", counted)

    def occupy(self) -> None:
        """What comes next in that thread waits."""
        self._submit(lambda: self._free.wait(60))

    def end(self) -> None:
        """Goes on."""
        self._free.set()


@pytest.fixture
def busy(hurried: tuple[FastAPI, httpx.Client], monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    """The thread that looks inside, busy."""
    occupied = Busy(hurried[0], monkeypatch)
    occupied.occupy()
    yield occupied
    occupied.end()


def test_work_that_takes_too_long_is_a_504(hurried: tuple[FastAPI, httpx.Client], busy: Busy) -> None:
    """By the caller's time or else the service's own; what had not been begun is not done, and each is counted."""
    _, client = hurried
    statuses = []
    for path in LOOKING:  # the first is handed to the thread, and the next ones wait for their turn behind it
        answer = client.post(path, content=PICTURE, headers={"X-Request-Timeout": "0.1"})
        statuses.append(answer.status_code)
        assert answer.json() == TOO_LATE
    body = infer_body(outputs=[{"name": "conv1"}])
    assert client.post(INFER, content=body).json() == TOO_LATE
    assert client.get("/v1/model/layers/conv1/kernels").json() == TOO_LATE
    assert statuses == [504] * len(LOOKING) and busy.begun == 1
    assert client.post("/v1/predict", content=bytes(784), headers=PREPARED).status_code == 200
    busy.end()
    assert client.post("/v1/features?format=npy", content=PICTURE).status_code == 200
    metrics = client.get("/metrics").text
    assert f'digitscope_refusals_total{{reason="Deadline"}} {len(LOOKING) + 2}.0' in metrics


def test_the_body_may_ask_for_less(client: httpx.Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol's own parameter, in microseconds, ends the wait for feature maps, too."""
    occupied = Busy(app, monkeypatch)
    occupied.occupy()
    try:
        body = infer_body(outputs=[{"name": "conv1"}], parameters={"timeout": 50_000})
        assert client.post(INFER, content=body).json() == TOO_LATE
    finally:
        occupied.end()
