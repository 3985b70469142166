"""Many clients at once, and each gets its own answer."""

import asyncio
from typing import Any

import httpx
import numpy as np

from tests.conftest import Mnist
from tests.service.pictures import encode
from tests.service.serving import Process

AT_ONCE = 200


def test_each_of_200_parallel_requests_gets_its_own_answer(server: Process, mnist: Mnist, plain: Any) -> None:
    """Different digits, sent at the same time in every form, are answered by what plain ONNX Runtime says to each."""
    images = mnist.images[2000 : 2000 + AT_ONCE]
    (expected,) = plain.run(["probabilities"], {"image": images[:, None]})

    async def ask(client: httpx.AsyncClient, number: int) -> Any:
        image = images[number]
        if number % 3 == 0:
            answer = await client.post("/v1/predict?preprocess=none", content=encode(image))
        elif number % 3 == 1:
            headers = {"Content-Type": "application/octet-stream"}
            answer = await client.post("/v1/predict", content=image.tobytes(), headers=headers)
        else:
            tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": image.ravel().tolist()}
            body = {"inputs": [tensor], "outputs": [{"name": "probabilities"}]}
            answer = await client.post("/v2/models/digits/infer", json=body)
        assert answer.status_code == 200, answer.text
        return (
            answer.json()["outputs"][0]["data"] if number % 3 == 2 else answer.json()["predictions"][0]["probabilities"]
        )

    async def main() -> list[Any]:
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits, trust_env=False) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(AT_ONCE)))

    answers = np.array(asyncio.run(main()))
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    distances = np.abs(expected[:, None] - expected[None]).max(axis=2) + np.eye(AT_ONCE)
    assert np.median(distances.min(axis=1)) > 1e-5, "the answers are too alike to be told apart"


def test_a_bad_neighbour_harms_nobody(server: Process, mnist: Mnist, plain: Any) -> None:
    """Among bad pictures sent at the same time each good one is answered right, and each bad one refused."""
    images = mnist.images[:60]
    (expected,) = plain.run(["probabilities"], {"image": images[:, None]})

    async def main() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
            good = [client.post("/v1/predict?preprocess=none", content=encode(image)) for image in images]
            bad = [client.post("/v1/predict", content=b"hello") for _ in images]
            return await asyncio.gather(*(request for pair in zip(good, bad, strict=True) for request in pair))

    answers = asyncio.run(main())
    assert {answer.status_code for answer in answers[1::2]} == {415}
    given = [answer.json()["predictions"][0]["probabilities"] for answer in answers[::2]]
    np.testing.assert_allclose(given, expected, atol=1e-5)
