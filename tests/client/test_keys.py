"""The client with an API key, against the service as a process that wants one, over a socket."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.errors import RefusedError
from client.synchronous import Client
from tests.client.commands import command
from tests.conftest import Mnist
from tests.service.keyed import KEYS, LINES
from tests.service.serving import DATA, Process, process

VARIABLE = "DIGITSCOPE_API_KEY"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service that wants keys."""
    log = tmp_path_factory.mktemp("keys") / "log"
    with process(log, "--provider", "cpu", "--workers", "1", DIGITSCOPE_API_KEYS=LINES) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine's environment says of proxies is no matter of this machine's own addresses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_the_library_asks_with_its_key(guarded: Process, mnist: Mnist, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the environment, or one that is given, is what the service takes; its refusals come through."""
    monkeypatch.setenv(VARIABLE, KEYS["predict"])
    with Client(guarded.url) as client:
        found = client.predict_digits(mnist.images[:300])
        assert sum(each.digit == label for each, label in zip(found, mnist.labels, strict=False)) > 290
        with pytest.raises(RefusedError, match="needs the scope inspect"):
            client.features(mnist.images[:1], "fc1")
    with Client(guarded.url, key=KEYS["page"]) as client:
        assert client.features(mnist.images[:1], "fc1").shape == (1, 600)
    with Client(guarded.url, key="wrong") as client, pytest.raises(RefusedError, match="this needs an API key"):
        client.predict_digits(mnist.images[:1])


@pytest.mark.parametrize(("key", "status"), [("predict", 0), ("metrics", 2), (None, 2)])
def test_the_command_asks_with_its_key(guarded: Process, tmp_path: Path, key: str | None, status: int) -> None:
    """With one of the right scope it ends well; with another, or none, it stops at once and says what is wrong."""
    log, output = tmp_path / "log", tmp_path / "digits.jsonl"
    arguments = (DATA / "seven.png", "--url", guarded.url, "--output", output)
    assert command(*arguments, log=log, **({} if key is None else {VARIABLE: KEYS[key]})) == status
    if key == "predict":
        assert json.loads(output.read_text().splitlines()[0])["digit"] == 7
    else:
        said = "needs the scope inspect or predict" if key else "this needs an API key"
        assert said in log.read_text()
    assert not any(secret in log.read_text() for secret in KEYS.values())
