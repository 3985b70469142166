"""What Triton's clients ask beside inference: configuration, statistics, index, classes and time limits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.errors import EngineError
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.asgi import Answered, ask, finish, running
from tests.service.protocol.frames import INFER, LENGTH, infer, request
from tests.service.refusals import refused
from tests.service.serving import MODELS, VERSION

RAW = {LENGTH: "0"}
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
COMPUTED = ("compute_input", "compute_infer", "compute_output")


@asynccontextmanager
async def open_app(**options: Any) -> AsyncIterator[FastAPI]:
    """An application with its model open, which has counted nothing yet."""
    async with running(create_app(Settings(models=MODELS, provider="cpu", **options))) as app:
        yield app


async def raw(app: FastAPI, images: int) -> Answered:
    """A request of so many black digits."""
    return await ask(app, "POST", INFER, bytes(784 * images), RAW)


async def statistics(app: FastAPI) -> Any:
    """The model's statistics, the same by each of their paths."""
    paths = ("/v2/models/stats", "/v2/models/digits/stats", f"/v2/models/digits/versions/{VERSION}/stats")
    answers = [(await ask(app, "GET", path)).json for path in paths]
    assert answers[0] == answers[1] == answers[2] and list(answers[0]) == ["model_stats"]
    (found,) = answers[0]["model_stats"]
    return found


def test_statistics_have_every_field_of_the_extension() -> None:
    """Before the first request all are there and nothing, as Triton's document and `perf_analyzer` have them."""

    async def main() -> Any:
        async with open_app() as app:
            return await statistics(app)

    assert finish(main()) == {
        "name": "digits",
        "version": VERSION,
        "last_inference": 0,
        "inference_count": 0,
        "execution_count": 0,
        "inference_stats": {name: {"count": 0, "ns": 0} for name in DURATIONS},
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    }


def test_statistics_add_up() -> None:
    """Images, runs and requests of each size are those that were asked for, and the times fit each other.

    Requests by turns run alone, and those at once together; what was refused before it was queued is none.
    """

    async def main() -> None:
        async with open_app() as app:
            before = time.time() * 1e3
            for images in (1, 1, 5):
                assert (await raw(app, images)).status == 200
            assert {answer.status for answer in await asyncio.gather(*(raw(app, images) for images in (1, 2, 3)))} == {
                200
            }
            for bad in (b"", b"{", bytes(783)):
                assert (await ask(app, "POST", INFER, bad, RAW)).status == 400
            found = await statistics(app)
            after = time.time() * 1e3
        assert before - 1 <= found["last_inference"] <= after
        assert (found["inference_count"], found["execution_count"]) == (1 + 1 + 5 + 6, 4)
        stages = found["inference_stats"]
        assert {name: stages[name]["count"] for name in DURATIONS} == {
            **dict.fromkeys(("success", "queue", *COMPUTED), 6),
            **dict.fromkeys(("fail", "cache_hit", "cache_miss"), 0),
        }
        batches = {batch["batch_size"]: batch for batch in found["batch_stats"]}
        assert {size: [batch[name]["count"] for name in COMPUTED] for size, batch in batches.items()} == {
            1: [2, 2, 2],
            5: [1, 1, 1],
            6: [1, 1, 1],
        }
        requests = {1: 1, 5: 1, 6: 3}  # that share a run of the size, and so each of them its time
        for name in COMPUTED:
            expected = sum(batches[size][name]["ns"] * shared for size, shared in requests.items())
            assert stages[name]["ns"] == pytest.approx(expected, abs=10)
        assert 0 < sum(stages[name]["ns"] for name in ("queue", *COMPUTED)) <= stages["success"]["ns"]

    finish(main())


def test_a_request_in_several_runs_is_one_success() -> None:
    """More images than one run takes are counted by their runs as by their images, and as one request answered."""

    async def main() -> None:
        async with open_app() as app:
            assert (await raw(app, 70)).status == 200
            found = await statistics(app)
        assert (found["inference_count"], found["execution_count"]) == (70, 2)
        assert {batch["batch_size"]: batch["compute_infer"]["count"] for batch in found["batch_stats"]} == {64: 1, 6: 1}
        assert found["inference_stats"]["success"]["count"] == 1

    finish(main())


def test_failures_are_statistics_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was queued and not answered is a failure with its time: no image and no run of it is counted."""

    async def main() -> None:
        async with open_app() as app:
            engine = app.state.digitscope.loaded.engine

            def fail(*_: object) -> None:
                raise EngineError("it fails")

            monkeypatch.setattr(engine, "predict", fail)
            assert {answer.status for answer in await asyncio.gather(raw(app, 1), raw(app, 2))} == {500}
            monkeypatch.undo()
            found = await statistics(app)
            assert found["inference_stats"]["fail"]["count"] == 2 and found["inference_stats"]["fail"]["ns"] > 0
            assert found["inference_count"] == found["execution_count"] == found["last_inference"] == 0
            assert (await raw(app, 1)).status == 200
            assert (await statistics(app))["inference_stats"]["success"]["count"] == 1

    finish(main())


def test_the_time_limit_of_a_request_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout that has passed when its turn comes is a 504 in JSON, and is not run; 0 and a long one are answered."""

    async def main() -> None:
        async with open_app() as app:
            engine = app.state.digitscope.loaded.engine
            inner = engine.predict
            ran: list[int] = []

            def slow(images: Any) -> Any:
                ran.append(len(images))
                time.sleep(0.02)
                return inner(images)

            monkeypatch.setattr(engine, "predict", slow)
            image = np.zeros((1, 28, 28), np.uint8)
            bodies = [
                request(image, parameters={"timeout": timeout}, id="t")[0] for timeout in (1000, 0, 3_600_000_000)
            ]
            long, *answers = await asyncio.gather(raw(app, 64), *(ask(app, "POST", INFER, body) for body in bodies))
            assert long.status == 200
            assert [answer.status for answer in answers] == [504, 200, 200]
            assert answers[0].json == {"error": "the time given for the request passed before its turn came"}
            assert ran == [64, 2]
            metrics = (await ask(app, "GET", "/metrics")).body
            assert b'digitscope_refusals_total{reason="Deadline"} 1.0' in metrics
            assert (await statistics(app))["inference_stats"]["fail"]["count"] == 1

    finish(main())


@pytest.mark.parametrize("timeout", [-1, 1.5, "1", None, True])
def test_a_time_limit_that_is_none_is_refused(client: httpx.Client, timeout: Any) -> None:
    """It is a number of microseconds."""
    body, _ = request(np.zeros((1, 28, 28), np.uint8), parameters={"timeout": timeout})
    assert "wrong at parameters.timeout" in refused(client.post(INFER, content=body), 400)


@pytest.mark.parametrize("name", ["logits", "probabilities"])
@pytest.mark.parametrize("classes", [1, 3, 10, 99])
@pytest.mark.parametrize("binary", [False, True])
def test_classes_are_the_largest_scores(
    client: httpx.Client, mnist: Mnist, plain: Any, name: str, classes: int, binary: bool
) -> None:
    """As `value:index:label`, best first, as many as were asked for or as there are; in JSON or as BYTES."""
    images = mnist.images[60:64]
    asked = {"name": name, "parameters": {"classification": classes, "binary_data": binary}}
    found = infer(client, images, [asked])
    assert found.ways == {name: "binary" if binary else "json"}
    (output,) = found.header["outputs"]
    count = min(classes, 10)
    assert (output["datatype"], output["shape"]) == ("BYTES", [4, count])
    (scores,) = plain.run([name], {"image": images[:, None]})
    for row, told in zip(scores, found.values[name], strict=True):
        values, indices, labels = zip(*(text.split(":") for text in told), strict=True)
        expected = sorted(range(10), key=lambda digit, row=row: -row[digit])[:count]  # type: ignore[misc]
        assert [int(index) for index in indices] == expected and list(labels) == list(indices)
        np.testing.assert_allclose([float(value) for value in values], row[expected], atol=1e-4)


def test_classes_and_numbers_share_an_answer(client: httpx.Client, mnist: Mnist) -> None:
    """Each output is as it was asked for, in order."""
    outputs: list[dict[str, Any]] = [
        {"name": "logits", "parameters": {"classification": 2, "binary_data": True}},
        {"name": "pool1", "parameters": {"binary_data": True}},
        {"name": "probabilities", "parameters": {"classification": 1}},
    ]
    found = infer(client, mnist.images[:2], outputs, binary=True)
    assert list(found.ways.items()) == [("logits", "binary"), ("pool1", "binary"), ("probabilities", "json")]
    assert found.values["logits"][0][0].split(":")[1:] == ["7", "7"]
    assert found.values["probabilities"][0][0].split(":")[1:] == ["7", "7"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "conv1", "parameters": {"classification": 1}}, "'conv1' has no classes"),
        ({"name": "logits", "parameters": {"classification": -1}}, "wrong at outputs.0.parameters.classification"),
        ({"name": "logits", "parameters": {"classification": "3"}}, "wrong at outputs.0.parameters.classification"),
    ],
)
def test_classes_that_are_none_are_refused(client: httpx.Client, mnist: Mnist, asked: Any, said: str) -> None:
    """Feature maps have no classes, and a number of them is a number."""
    body, _ = request(mnist.images[:1], [asked])
    assert said in refused(client.post(INFER, content=body), 400)


def test_the_configuration_is_told(client: httpx.Client) -> None:
    """Triton's form: the largest request, the tensors without their batch axis, and that requests are batched."""
    told = client.get("/v2/models/digits/config").json()
    assert told == client.get(f"/v2/models/digits/versions/{VERSION}/config").json()
    assert told["max_batch_size"] == 256 and told["name"] == "digits" and told["platform"] == "onnxruntime_onnx"
    assert told["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [1, 28, 28]}]
    assert told["output"] == [
        {"name": "logits", "data_type": "TYPE_FP32", "dims": [10]},
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10]},
    ]
    assert told["dynamic_batching"] == {"preferred_batch_size": [], "max_queue_delay_microseconds": 0}


def test_the_configuration_follows_the_settings() -> None:
    """What clients are told of limits is what is held: a request of that size is answered, and one more refused."""

    async def main() -> None:
        async with open_app(max_images=3, max_queue_delay=1000) as app:
            told = (await ask(app, "GET", "/v2/models/digits/config")).json
            assert told["max_batch_size"] == 3
            assert told["dynamic_batching"]["max_queue_delay_microseconds"] == 1000
            assert [(await raw(app, images)).status for images in (3, 4)] == [200, 413]

    finish(main())


@pytest.mark.parametrize("content", [b"", b"{}", b'{"ready": true}', b"nonsense"])
def test_the_repository_lists_what_is_here(client: httpx.Client, content: bytes) -> None:
    """Its index has every version that has a folder, or those that answer alone, and it needs no body."""
    answer = client.post("/v2/repository/index", content=content)
    assert answer.status_code == 200
    older = {"state": "UNAVAILABLE", "reason": "it is not loaded"}
    versions = [] if b"true" in content else [str(number) for number in range(1, int(VERSION))]
    assert answer.json() == [
        *({"name": "digits", "version": version, **older} for version in versions),
        {"name": "digits", "version": VERSION, "state": "READY", "reason": ""},
    ]


@pytest.mark.parametrize("path", ["/v2/repository/models/digits/load", "/v2/repository/models/digits/unload"])
def test_nothing_is_loaded_by_request(client: httpx.Client, path: str) -> None:
    """Unless that is asked for when the service starts, as the refusal says."""
    assert refused(client.post(path), 400) == (
        "nothing is loaded or let go by request here: that needs a start with --repository-api"
    )
