"""The whole request within the service: what is refused rather than queued, and what is read off an answer."""

import asyncio
import json
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine import Engine
from service.errors import DeadlineError, OverloadedError
from service.image import Preprocess, Seen, read_picture
from service.manifest import Manifest, Rejection
from service.metrics import STAGES, Metrics
from service.prediction import Prediction, Run
from service.predictor import Predictor
from service.rejection import REASONS, Gates
from service.settings import Settings
from service.tally import Tally
from tests.conftest import Mnist
from tests.service.pictures import encode


@pytest.fixture
def predictor(model_bytes: bytes, manifest: Manifest) -> Predictor:
    """A predictor of the shipped model."""
    return Predictor(Engine(model_bytes, manifest, provider="cpu"), Settings(), Metrics(Tally(), (), 64))


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
    """Eighty requests of one digit each, made at once, run as two batches of at most 64, and keep their order."""
    sizes = []
    inner = predictor.engine.predict

    def counting(images: NDArray[np.uint8]) -> object:
        sizes.append(len(images))
        return inner(images)

    monkeypatch.setattr(predictor.engine, "predict", counting)

    async def main() -> list[Prediction]:
        return await asyncio.gather(*(predictor.predict(digit.tobytes()) for digit in mnist.images[:80]))

    answers = asyncio.run(main())
    assert sizes == [64, 16]
    logits = inner(mnist.images[:80, None])[0]
    np.testing.assert_allclose([answer.logits[0] for answer in answers], logits, atol=1e-4)


@pytest.fixture
def sizes(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of each run, as they come."""
    found: list[int] = []
    inner = predictor.engine.predict

    def counting(images: NDArray[np.uint8]) -> object:
        found.append(len(images))
        return inner(images)

    monkeypatch.setattr(predictor.engine, "predict", counting)
    return found


def test_a_large_request_gives_others_their_turn(predictor: Predictor, mnist: Mnist, sizes: list[int]) -> None:
    """Of seventy digits a piece is run at a time, the first beside another request; both get their own answers."""

    async def main() -> tuple[Prediction, Prediction]:
        large, small = mnist.images[:70].tobytes(), mnist.images[70:72].tobytes()
        return await asyncio.gather(predictor.predict(large), predictor.predict(small))

    large, small = asyncio.run(main())
    assert sizes == [64, 8]
    expected, _ = predictor.engine.predict(mnist.images[:72, None])
    np.testing.assert_allclose(large.logits, expected[:70], atol=1e-4)
    np.testing.assert_allclose(small.logits, expected[70:], atol=1e-4)
    assert (len(large.json), len(small.json)) == (70, 2)


def test_a_large_request_is_refused_whole(model_bytes: bytes, manifest: Manifest, mnist: Mnist) -> None:
    """Where some of it finds no place none of it is run; what is still to come of others counts, until it has come."""
    engine = Engine(model_bytes, manifest, provider="cpu")
    metrics = Metrics(Tally(), (), 64)
    predictor = Predictor(engine, Settings(max_waiting=100), metrics)

    async def main() -> None:
        first = asyncio.ensure_future(predictor.predict(mnist.images[:70].tobytes()))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match=r"^70 images wait already, and at most 100 may$"):
            await predictor.predict(mnist.images[:31].tobytes())
        second = asyncio.ensure_future(predictor.predict(mnist.images[:30].tobytes()))
        assert [len((await request).json) for request in (first, second)] == [70, 30]
        await predictor.predict(mnist.images[:100].tobytes())
        with pytest.raises(DeadlineError):
            await predictor.predict(mnist.images[:100].tobytes(), deadline=0.0)
        both = [predictor.predict(mnist.images[:count].tobytes()) for count in (50, 50)]  # nothing is owed any more
        assert [len(answer.json) for answer in await asyncio.gather(*both)] == [50, 50]

    asyncio.run(main())
    runs = metrics.all_runs(metrics.totals())[:, 0]
    assert np.arange(len(runs)) @ runs == 70 + 30 + 100 + 50 + 50


def test_a_passed_deadline_is_of_all_its_pieces(predictor: Predictor, mnist: Mnist, sizes: list[int]) -> None:
    """A large request whose time has passed is refused as a small one is, and nothing of it is run."""

    async def main() -> None:
        for count in (1, 70):
            with pytest.raises(DeadlineError):
                await predictor.predict(mnist.images[:count].tobytes(), deadline=0.0)

    asyncio.run(main())
    assert sizes == []


def test_reasons_follow_their_images_through_runs(model_bytes: bytes, manifest: Manifest, mnist: Mnist) -> None:
    """In runs that requests share, and of a request in pieces, each image is rejected for its own reason, and counted.

    What reading a picture found, what its pixels show and what the network answers come together, and no digit and no
    number is another for it.
    """
    engine = Engine(model_bytes, manifest, provider="cpu")
    logits, probabilities = engine.predict(mnist.images[:100, None])
    least = float(np.sort(probabilities.max(axis=1))[4])
    rejection = Rejection(evidence=-1000.0, confidence=least)
    metrics = Metrics(Tally(), (), 64)
    engine.manifest = manifest.model_copy(update={"rejection": rejection})
    predictor = Predictor(engine, Settings(), metrics)
    digits = mnist.images[:100].copy()
    digits[[5, 70]] = 0
    noted = ["several" if number in {6, 71} else None for number in range(100)]
    expected = ["ambiguous" if row.max() < least else None for row in probabilities]
    expected[5] = expected[70] = "blank"
    expected[6] = expected[71] = "several"

    async def main() -> list[Prediction]:
        pixels = [digit.tobytes() for digit in digits]
        single = [predictor.predict(pixels[n], reasons=[noted[n]] if noted[n] else ()) for n in range(100)]
        return await asyncio.gather(predictor.predict(digits.tobytes(), reasons=noted), *single)

    whole, *single = asyncio.run(main())
    for reasons in (whole.reasons, [reason for part in single for reason in part.reasons or [None]]):
        assert list(reasons) == expected
    kept = np.setdiff1d(np.arange(100), [5, 70])
    for found in (whole.logits, np.concatenate([part.logits for part in single])):
        np.testing.assert_allclose(found[kept], logits[kept], atol=1e-4)
    counted = dict(zip(REASONS, metrics.rejections.of(metrics.tally.total()).tolist(), strict=True))
    assert counted == {reason: 2 * expected.count(reason) for reason in REASONS}
    assert expected.count("ambiguous") in {2, 3, 4}


def test_what_joining_takes_is_time_of_the_output(
    model_bytes: bytes, manifest: Manifest, mnist: Mnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a request in pieces it is counted as `compute_output`, and the pieces as one run each."""
    metrics = Metrics(Tally(), (), 64)
    predictor = Predictor(Engine(model_bytes, manifest, provider="cpu"), Settings(), metrics)
    seen = Gates.reasons

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.05)
        return seen(*arguments)

    monkeypatch.setattr(Gates, "reasons", slowly)
    prediction = asyncio.run(_predict(predictor, mnist.images[:200].tobytes()))
    assert len(prediction) == 200
    stages = metrics.statistics(manifest.version).stages
    runs = metrics.all_runs(metrics.totals())
    output = STAGES.index("compute_output")
    assert stages[output, 0] == runs[:, 0].sum() == 4  # 64 three times, and 8
    assert stages[output, 1] >= 0.05 and runs[:, -1].sum() >= 0.05


async def _predict(predictor: Predictor, pixels: bytes) -> Prediction:
    return await predictor.predict(pixels)


@pytest.mark.parametrize("preprocess", ["mnist", "none"])
def test_small_and_large_pictures_are_read_alike(predictor: Predictor, mnist: Mnist, preprocess: Preprocess) -> None:
    """A picture that is read on the event loop and one that goes to a thread become the same digit."""
    small = encode(mnist.images[3], "PNG")
    large = encode(mnist.images[3], "TIFF") + bytes(5000)
    assert len(small) < 4096 < len(large)

    async def main() -> list[Seen]:
        return [await predictor.read(data, preprocess) for data in (small, large)]

    expected = read_picture(small, preprocess, 10**6)
    for seen in asyncio.run(main()):
        np.testing.assert_array_equal(seen.digit, expected.digit)
        assert seen.reason is expected.reason is None
