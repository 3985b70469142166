"""All 10,000 test digits as picture files, sent to the running service: what it is for."""

import http.client
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.pictures import encode
from tests.service.serving import Process

CONNECTIONS = 6


def one_by_one(server: Process, pictures: Sequence[bytes]) -> list[int]:
    """The digits of pictures taken as they are, each posted by itself on a connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    found = []
    for picture in pictures:
        connection.request("POST", "/v1/predict?preprocess=none", picture, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        found.append(json.loads(body)["predictions"][0]["digit"])
    connection.close()
    return found


def by_the_dozen(server: Process, pictures: Sequence[bytes]) -> list[int]:
    """The digits of pictures of unknown make, posted as files of multipart requests."""
    found = []
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        for start in range(0, len(pictures), 60):
            files = [("files", ("digit.png", picture)) for picture in pictures[start : start + 60]]
            answer = client.post("/v1/predict", files=files)
            assert answer.status_code == 200, answer.text
            found += [prediction["digit"] for prediction in answer.json()["predictions"]]
    return found


def digits(
    ask: Callable[[Process, Sequence[bytes]], list[int]], server: Process, pictures: Sequence[bytes]
) -> NDArray[np.int64]:
    """The digit of each picture, asked for over a few connections at once."""
    shares = np.array_split(np.arange(len(pictures)), CONNECTIONS)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        found = pool.map(lambda share: ask(server, [pictures[number] for number in share]), shares)
        return np.concatenate([np.array(part, np.int64) for part in found])


@pytest.fixture(scope="module")
def expected(plain: Any, mnist: Mnist) -> NDArray[np.int64]:
    """The digits by the ONNX file in plain ONNX Runtime, in this process."""
    parts = [plain.run(["logits"], {"image": part})[0].argmax(axis=1) for part in np.split(mnist.images[:, None], 10)]
    return np.concatenate(parts)


def accuracy(found: NDArray[np.int64], mnist: Mnist) -> float:
    """The share of right answers, in per cent."""
    return float((found == mnist.labels).mean() * 100)


def test_the_shipped_model_is_as_good_as_it_is_said_to_be(
    expected: NDArray[np.int64], mnist: Mnist, manifest: Manifest
) -> None:
    """At least 99.4 % of the test digits are read right, and just as many as the manifest says."""
    found = accuracy(expected, mnist)
    assert manifest.metrics[f"seed {manifest.training['seed']}"]["test_accuracy"] * 100 == pytest.approx(
        found, abs=1e-9
    )
    assert found >= 99.4


def test_the_service_gives_the_models_own_digits(server: Process, mnist: Mnist, expected: NDArray[np.int64]) -> None:
    """All 10,000 as PNG files, taken as they are, get the same digits as the ONNX file in-process."""
    pictures = [encode(image) for image in mnist.images]
    np.testing.assert_array_equal(digits(one_by_one, server, pictures), expected)


@pytest.mark.parametrize("inverted", [False, True])
def test_preprocessing_costs_no_accuracy(
    server: Process, mnist: Mnist, expected: NDArray[np.int64], inverted: bool
) -> None:
    """All 10,000 as pictures of unknown make, black on white too, are read as well within 0.1 points."""
    pictures = [encode(255 - image if inverted else image) for image in mnist.images]
    assert accuracy(digits(by_the_dozen, server, pictures), mnist) == pytest.approx(accuracy(expected, mnist), abs=0.1)
