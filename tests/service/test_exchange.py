"""Versions swapped in whole: who has begun with the old one ends with it, and then it is gone with all its memory."""

import asyncio
import gc
import json
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from benchmarks.candidates import Candidates
from service import exchange
from service.app import Application, create_app
from service.candidate import open_version
from service.engine import Engine
from service.errors import ModelError, VersionError
from service.exchange import Exchange
from service.serving import Change, Serving
from service.settings import Settings
from service.state import State
from tests.service.asgi import Answered, ask, finish, running
from tests.service.connected import Connected

_RAW = {"Content-Type": "application/octet-stream"}
_HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\nContent-Length: 784\r\n\r\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 to 8, of which 5 is broken."""
    folder = tmp_path_factory.mktemp("models")
    candidates = Candidates(folder, 1)
    for version in range(1, 9):
        candidates.make(version, "golden inputs wrong" if version == 5 else "")
    return folder


def opened(models: Path, **flags: Any) -> Application:
    """An application that begins with version 1."""
    return create_app(Settings(models=models, provider="cpu", model_version="1", repository_api=True, **flags))


def exchange_of(app: Application) -> Exchange:
    """What changes it, without a trial in a process of its own."""
    control: Any = app.state.digitscope.control
    found: Exchange = control._exchange
    return found


def version_of(answer: Answered) -> str:
    """The version that an answer names."""
    return str(answer.json["model"]["version"])


async def versions(connection: Connected, count: int) -> list[str]:
    """The versions that so many answers on a connection name."""
    return [json.loads(answer.body)["model"]["version"] for answer in await connection.answered(count)]


async def changed(app: Application, change: Change) -> None:
    """Makes a change."""
    await exchange_of(app).prepare(change)
    exchange_of(app).commit()


def test_who_has_begun_ends_with_the_old_version(models: Path) -> None:
    """Requests in flight by every way: in the queue, with a body that is still to come, or looking inside."""

    async def main() -> None:
        async with running(opened(models)) as app:
            state: State = app.state.digitscope
            assert isinstance(app, Application)
            await exchange_of(app).prepare(Change("load", "2"))
            looking = asyncio.ensure_future(ask(app, "POST", "/v1/features?layer=fc1&format=json", bytes(784), _RAW))
            old = state.predictor
            while not old._background._unfinished.total:
                await asyncio.sleep(0)
            queued = asyncio.ensure_future(ask(app, "POST", "/v1/predict", bytes(784), _RAW))
            express, halfway = Connected(app), Connected(app)
            halfway.feed(_HEAD + bytes(100))
            express.feed(_HEAD + bytes(784))
            for _ in range(3):
                await asyncio.sleep(0)
            order = app.express.order(b"POST", b"/v1/predict", [(b"content-type", b"application/octet-stream")])
            exchange_of(app).commit()
            assert state.predictor is not old and order
            app.express.learn(_HEAD, order, 784)  # too late: it is of the old version
            assert version_of(await ask(app, "POST", "/v1/predict", bytes(784), _RAW)) == "2"
            assert [version_of(await looking), version_of(await queued)] == ["1", "1"]
            halfway.feed(bytes(684))
            assert [await versions(connection, 1) for connection in (express, halfway)] == [["1"], ["1"]]
            for _ in range(2):  # that head was known, and is now of the new version
                express.feed(_HEAD + bytes(784))
            assert await versions(express, 3) == ["1", "2", "2"]

    finish(main())


def test_what_is_let_go_is_gone(models: Path) -> None:
    """By the last reference alone: nobody has to look for garbage, and no seldom path holds on to a version."""

    async def main() -> None:
        async with running(opened(models)) as app:
            state: State = app.state.digitscope
            assert isinstance(app, Application)
            gone = []
            gc.collect()
            gc.disable()
            try:
                for version in ("2", "3", "2"):
                    connection = Connected(app)
                    for _ in range(2):
                        connection.feed(_HEAD + bytes(784))
                    await connection.answered(2)
                    for path in ("/v1/predict", "/v1/features?layer=conv1", "/v1/attribution", "/v1/model"):
                        method = "GET" if path == "/v1/model" else "POST"
                        assert (await ask(app, method, path, bytes(784), _RAW)).status == 200
                    gone.append(weakref.ref(state.predictor.engine))
                    await changed(app, Change("load", version))
                    await asyncio.sleep(0.01)
                    assert gone[-1]() is None
            finally:
                gc.enable()

    finish(main())


def test_what_fails_changes_nothing(models: Path) -> None:
    """It is refused with the reason, which is kept, and the answers come from where they came from."""

    async def main() -> None:
        async with running(opened(models)) as app:
            state: State = app.state.digitscope
            assert isinstance(app, Application)
            served = state.served
            with pytest.raises(ModelError, match="golden inputs"):
                await exchange_of(app).prepare(Change("load", "5"))
            with pytest.raises(VersionError):
                await exchange_of(app).prepare(Change("unload", "1"))
            assert state.served is served
            exchange_of(app).drop("5", "broken")
            assert served and state.open.current is served.current
            entries = (await ask(app, "POST", "/v2/repository/index")).json
            assert [entry["reason"] for entry in entries] == [
                "",
                *["it is not loaded"] * 3,
                "broken",
                *["it is not loaded"] * 3,
            ]
            assert exchange_of(app).serving == Serving("1", (), {"5": "broken"})

    finish(main())


def test_it_answers_while_it_opens(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version is opened in a thread: meanwhile requests are answered, and it is ready."""
    answered = threading.Event()

    def waiting(settings: Settings, version: str) -> Engine:
        assert answered.wait(60)
        return open_version(settings, version)

    async def main() -> None:
        async with running(opened(models)) as app:
            assert isinstance(app, Application)
            monkeypatch.setattr(exchange, "open_version", waiting)
            preparing = asyncio.ensure_future(exchange_of(app).prepare(Change("load", "2")))
            await asyncio.sleep(0)
            for _ in range(3):
                assert version_of(await ask(app, "POST", "/v1/predict", bytes(784), _RAW)) == "1"
                assert (await ask(app, "GET", "/v2/health/ready")).status == 200
            answered.set()
            assert len(await preparing) == 64

    finish(main())


def test_counts_are_of_their_versions(models: Path) -> None:
    """Whichever come and go: each that serves has its own, and what all have run is counted on and never falls."""

    async def main() -> None:
        async with running(opened(models)) as app:
            assert isinstance(app, Application)
            state: State = app.state.digitscope
            total = 0
            for turn, version in enumerate(("2", "3", "4", "6", "7", "8", "2", "8"), start=1):
                await changed(app, Change("load", version))
                for _ in range(turn):
                    await ask(app, "POST", "/v1/predict", bytes(784), _RAW)
                total += turn
                (stats,) = (await ask(app, "GET", "/v2/models/stats")).json["model_stats"]
                # Version 8 comes again soon enough to be remembered, and 2 does not.
                expected = 6 + 8 if turn == 8 else turn
                assert (stats["version"], stats["inference_count"]) == (version, expected)
                assert stats["inference_stats"]["success"]["count"] == expected
                runs = state.metrics.all_runs(state.metrics.totals())
                assert runs[1, 0] == total
                text = (await ask(app, "GET", "/metrics")).body.decode()
                assert f"digitscope_batch_images_count {total}.0" in text
                assert f'digitscope_version_images_total{{version="{version}"}} {expected}.0' in text

    finish(main())


def test_requests_for_changes(models: Path) -> None:
    """The parameters are these two and no others; what is refused is a 400 that says why, and what is unknown a 404."""

    async def main() -> None:
        async with running(opened(models)) as app:
            base = "/v2/repository/models"
            for path, body, status, said in (
                ("digits/load", b"{", 400, "the body is no JSON"),
                ("digits/load", b'{"parameters":{"config":"{}"}}', 400, "parameters.config"),
                ("digits/load", b'{"parameters":{"version":"../1"}}', 400, "parameters.version"),
                ("digits/load", b'{"parameters":{"version":"99"}}', 400, "there is no version 99"),
                ("digits/unload", b"", 400, "version 1 answers what names no version"),
                ("digits/unload", b'{"parameters":{"version":"2"}}', 400, "version 2 is not loaded"),
                ("digits/unload", b'{"parameters":{"unload_dependents":true}}', 400, "version 1 answers"),
                ("cats/load", b"", 404, "there is no model 'cats'"),
            ):
                answer = await ask(app, "POST", f"{base}/{path}", body)
                assert answer.status == status and said in answer.json["error"], answer
            wanted = b'{"parameters":{"version":"2","current":false}}'
            assert (await ask(app, "POST", f"{base}/digits/load", wanted)).status == 200
            told = await ask(app, "GET", "/v2/models/digits")
            assert told.json["versions"] == ["1", "2"]
            assert (await ask(app, "POST", f"{base}/digits/load", b'{"parameters":{"version":"5"}}')).json == {
                "error": "version 5 is refused: the golden inputs are answered wrong, by more than 0.001 in a logit"
            }
            wanted = b'{"parameters":{"version":"2"}}'
            assert (await ask(app, "POST", f"{base}/digits/unload", wanted)).json == {}
            assert (await ask(app, "GET", "/v2/models/digits/versions/2")).status == 404

    finish(main())
