"""Requests of any kind: the service never fails, and whatever it refuses it refuses by a sentence in JSON."""

import asyncio
import gzip
import json
import string
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, get_args
from urllib.parse import urlencode

import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.layer import Padding
from service.operators.appearance import Show
from service.operators.kernel import NAMED
from service.operators.operation import Operator
from service.settings import Settings
from tests.service.asgi import Answered, ask, running
from tests.service.pictures import drawn, encode
from tests.service.protocol.frames import LENGTH, request
from tests.service.serving import MODELS, VERSION


class Fuzzed:
    """An application on an event loop that stays, so that each example is one request and nothing besides."""

    def __init__(self, runner: asyncio.Runner, app: FastAPI) -> None:
        self._runner = runner
        self._app = app

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """The answer, after a look at its form."""
        answered = self._runner.run(asyncio.wait_for(ask(self._app, method, path, body, headers), 60))
        assert 200 <= answered.status < 500, (answered.status, answered.body)
        if answered.status >= 400:
            assert answered.headers["Content-Type"] == "application/json"
            assert list(answered.json) == ["error"]
            sentence = answered.json["error"]
            assert isinstance(sentence, str) and sentence and "Traceback" not in sentence
        if path.startswith("/v2"):
            assert answered.status in (200, 400, 404, 405, 413)
        return answered


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    """An application with small limits."""
    app = create_app(Settings(models=MODELS, provider="cpu", max_body=100_000, max_images=5, max_pixels=10_000))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runner.run(stack.enter_async_context(running(app)))
        yield Fuzzed(runner, app)
        runner.run(stack.aclose())


PICTURE = encode(np.arange(240, dtype=np.uint8).reshape(12, 20))
WORDS = [
    *("v1", "v2", "predict", "features", "model", "models", "digits", "versions", VERSION, "infer", "ready", "stats"),
    *("config", "health", "live", "repository", "index", "metrics", "static", "..", "", "{model}", "%00", "operators"),
]
paths = st.one_of(
    st.text(max_size=30).map("/{}".format),
    st.lists(
        st.sampled_from(WORDS) | st.text(max_size=5),
        max_size=6,
    ).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(
        ["/v1/predict", "/v1/features", "/v1/operators", f"/v2/models/digits/versions/{VERSION}/infer"]
    ).flatmap(lambda path: st.text(string.ascii_letters + "=&%+;", max_size=20).map(lambda query: f"{path}?{query}")),
)
names = st.sampled_from(
    ["Content-Type", "Content-Encoding", "Accept", "Accept-Encoding", "Content-Length", "X-Request-ID", LENGTH]
)
values = st.one_of(
    st.sampled_from(["0", "10", "-1", "gzip", "deflate", "application/json", "image/png", "*/*", "identity"]),
    st.sampled_from(["multipart/form-data; boundary=b", "application/octet-stream", "text/html; charset=utf-7"]),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
headers = st.dictionaries(names, values, max_size=3)
methods = st.sampled_from(["GET", "POST", "POST", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])


# Starlette leaves the file of a part that never ends to the garbage collector, which closes it.
@pytest.mark.filterwarnings(r"ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
@settings(deadline=None, max_examples=400)
@given(methods, paths, st.binary(max_size=300) | st.just(bytes(784)), headers)
def test_any_request_is_answered(fuzzed: Fuzzed, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
    """Whatever method, path, header fields and body somebody sends."""
    fuzzed.ask(method, path, body, headers)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["operator", "kernel", "size", "stride", "padding", "show", "format"]),
        st.sampled_from(
            [*get_args(Operator), *NAMED, *get_args(Padding), *get_args(Show), "json", "npy", "15", "3", "2"]
        )
        | st.text("0123456789-+.eE,; nainf", max_size=40)
        | st.text(max_size=10),
    )
)
def test_any_operation_is_answered(fuzzed: Fuzzed, query: dict[str, str]) -> None:
    """Whatever its parameters say of a picture: an output, or why there is none."""
    fuzzed.ask("POST", f"/v1/operators?{urlencode(query)}", PICTURE, {})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
IMAGE = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)


@settings(deadline=None, max_examples=300)
@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(["inputs", "outputs", "parameters", "name", "shape", "datatype", "data", "id", 0, 1])
            ),
            json_values,
        ),
        max_size=3,
    ),
    st.sampled_from([b"", b"\0", bytes(784), bytes(3136)]),
    headers,
)
def test_any_inference_request_is_answered(
    fuzzed: Fuzzed, binary: bool, changes: list[tuple[list[Any], Any]], more: bytes, headers: dict[str, str]
) -> None:
    """A right request with some of its parts replaced by others, its bytes and its header fields too."""
    outputs: list[dict[str, Any]] = [{"name": "logits", "parameters": {"classification": 2}}, {"name": "fc1"}]
    body, own = request(IMAGE, outputs, binary=binary, parameters={"timeout": 10**9}, id="f")
    length = int(own.get(LENGTH, len(body)))
    document, rest = json.loads(body[:length]), body[length:]
    for where, value in changes:
        place: Any = document
        for step in where[:-1]:
            try:
                place = place[step]
            except (KeyError, IndexError, TypeError):
                break
        try:
            place[where[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    header = json.dumps(document).encode()
    content = header + rest + more
    fields = {LENGTH: str(len(header))} if binary else {}
    if headers.get("Content-Encoding") == "gzip":
        content = gzip.compress(content)
    fuzzed.ask("POST", "/v2/models/digits/infer", content, fields | headers)


@settings(deadline=None, max_examples=150)
@given(
    st.booleans(),
    st.integers(0, 5000),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), max_size=4),
    st.integers(-3, 3),
)
def test_any_damage_to_an_inference_request_is_survived(
    fuzzed: Fuzzed, binary: bool, cut: int, flips: list[tuple[int, int]], shift: int
) -> None:
    """Cut off, with bytes changed, and with a header length that is a little off."""
    body, own = request(IMAGE, binary=binary)
    damaged = bytearray(body)
    for place, change in flips:
        damaged[place % len(damaged)] ^= change
    headers = {LENGTH: str(int(own[LENGTH]) + shift)} if binary else {}
    fuzzed.ask("POST", "/v2/models/digits/infer", bytes(damaged[: cut or None]), headers)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # Pillow's, about damage
@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=6), st.integers(1, 2000), st.booleans())
def test_any_damage_to_a_picture_is_survived(
    fuzzed: Fuzzed, flips: list[tuple[int, int]], length: int, features: bool
) -> None:
    """A small picture, which is read on the event loop itself, with bytes changed and cut off."""
    damaged = bytearray(encode(drawn().reduce(4)))
    for place, change in flips:
        damaged[place % len(damaged)] ^= change
    fuzzed.ask("POST", "/v1/features" if features else "/v1/predict", bytes(damaged[:length]), {})
