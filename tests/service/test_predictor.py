"""The whole request within the service: what is refused rather than queued, and what is read off an answer."""

import asyncio
import json
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine import Engine
from service.errors import OverloadedError
from service.manifest import Manifest
from service.metrics import Metrics
from service.prediction import Prediction, Run
from service.predictor import Predictor
from service.settings import Settings
from service.tally import Tally
from tests.conftest import Mnist


@pytest.fixture
def predictor(model_bytes: bytes, manifest: Manifest) -> Predictor:
    """A predictor of the shipped model."""
    return Predictor(Engine(model_bytes, manifest, provider="cpu"), Settings(), Metrics(Tally(), (), 32))


def test_the_digit_is_the_best_guess() -> None:
    """The largest probability decides, however small it is."""
    probabilities = np.full(10, 0.099, np.float32)
    probabilities[6] = 0.109
    run = Run(probabilities[None], probabilities[None])
    assert run.digits == [6]
    assert json.loads(Prediction(run, 0, 1).json[0])["digit"] == 6


def test_looking_inside_does_not_hold_up_predictions(
    predictor: Predictor, mnist: Mnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one request looks inside, however long, others are answered; the 18th that wants to look is refused."""
    free, started = threading.Event(), threading.Event()

    def slow(*_: object) -> dict[str, object]:
        started.set()
        assert free.wait(20)
        return {}

    monkeypatch.setattr(predictor.engine, "inspect", slow)

    async def main() -> None:
        digits = mnist.images[0].tobytes()
        looking = [asyncio.ensure_future(predictor.inspect(digits, ["conv1"])) for _ in range(17)]
        await asyncio.to_thread(started.wait, 20)
        try:
            with pytest.raises(OverloadedError, match="16 requests wait already to look inside"):
                await asyncio.wait_for(predictor.inspect(digits, ["conv1"]), 5)
            answers = await asyncio.wait_for(predictor.predict(digits), 5)
            assert len(answers.json) == 1 and not any(request.done() for request in looking)
        finally:
            free.set()
        assert await asyncio.gather(*looking) == [{}] * 17

    asyncio.run(main())


def test_requests_that_meet_share_a_batch(predictor: Predictor, mnist: Mnist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty requests of one digit each, made at once, run as two batches of at most 32, and keep their order."""
    sizes = []
    inner = predictor.engine.predict

    def counting(images: NDArray[np.uint8]) -> object:
        sizes.append(len(images))
        return inner(images)

    monkeypatch.setattr(predictor.engine, "predict", counting)

    async def main() -> list[Prediction]:
        return await asyncio.gather(*(predictor.predict(digit.tobytes()) for digit in mnist.images[:40]))

    answers = asyncio.run(main())
    assert sizes == [32, 8]
    logits = inner(mnist.images[:40, None])[0]
    np.testing.assert_allclose([answer.logits[0] for answer in answers], logits, atol=1e-4)
