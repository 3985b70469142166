"""The client without asyncio, against the service as a process of its own, over a socket."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from client.errors import GivenUpError, RefusedError, RunError
from client.synchronous import Client
from tests.conftest import Mnist
from tests.service.pictures import encode
from tests.service.serving import VERSION, Process


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine's environment says of proxies is no matter of this machine's own addresses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_everything_over_a_socket(server: Process, mnist: Mnist, plain: Any) -> None:
    """Model, pictures, prepared digits, what was seen and a layer: the same as ONNX Runtime has it."""
    images = mnist.images[:300]
    with Client(server.url) as client:
        assert client.model().version == VERSION
        found = client.predict_digits(images)
        pictures = [encode(image) for image in images[:70]]
        as_pictures = client.predict(pictures, preprocess="none")
        _, seen = client.see(pictures[:3], preprocess="none")
        features = client.features(images[:3], "fc1")
    expected = plain.run(["probabilities"], {"image": images[:, None]})[0]
    assert np.abs(np.array([each.probabilities for each in found]) - expected).max() < 1e-5
    assert [each.digit for each in as_pictures] == [each.digit for each in found[:70]]
    assert (seen == images[:3]).all() and features.shape == (3, 600)


def test_threads_may_share_it(server: Process, mnist: Mnist) -> None:
    """Sixteen threads ask through one client, and each has its own answer."""
    with Client(server.url) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: client.predict_digits(mnist.images[number : number + 1])[0], range(200)))
        together = client.predict_digits(mnist.images[:200])
    assert [each.digit for each in found] == [each.digit for each in together]


def test_a_refusal_is_raised_in_the_thread_that_asked(server: Process) -> None:
    """The service's sentence comes through."""
    with Client(server.url) as client, pytest.raises(RefusedError, match="no picture"):
        client.predict([b"no picture"])


def test_a_service_that_is_not_there_is_given_up() -> None:
    """A port on which nothing listens is tried as long as patience lasts; what is no address, not at all."""
    with Client("http://127.0.0.1:9", patience=0.2) as client, pytest.raises(GivenUpError, match="connection failed"):
        client.model()
    for address in ("127.0.0.1:8000", "ftp://somewhere", "http://", "http://a:b", ""):
        with pytest.raises(RunError, match="no address"):
            Client(address)
