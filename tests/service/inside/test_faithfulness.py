"""Faithfulness: its curves against a plain loop, and what it says of maps that are known to be right or wrong."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine import Engine
from service.inside.faithfulness import RANDOM_ORDERS, STEPS, measure
from service.inside.probe import Probe
from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.networks import linear, serve


@pytest.fixture(scope="module")
def probe(model_bytes: bytes, manifest: Manifest) -> Probe:
    """The probe of the shipped model."""
    return Probe(Engine(model_bytes, manifest, provider="cpu", threads=1))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_curves_are_those_of_a_plain_loop(probe: Probe, plain: Any, mnist: Mnist, number: int) -> None:
    """Pixel by pixel in the order of a random map, asked of plain ONNX Runtime one image after the other."""
    image = mnist.images[number]
    map_ = np.random.default_rng(number).normal(size=(28, 28)).astype(np.float32)
    inked = [(y, x) for y in range(28) for x in range(28) if image[y, x] > 0]
    inked.sort(key=lambda place: -map_[place])
    found = measure(probe, image[None, None], {5: map_})[5]
    for course, start in ((found.deletion, image), (found.insertion, np.zeros_like(image))):
        for step in range(STEPS + 1):
            altered = start.copy()
            for place in inked[: int(len(inked) * step / STEPS + 0.5)]:
                altered[place] = 0 if course is found.deletion else image[place]
            logits, probabilities = plain.run(None, {"image": altered[None, None]})
            assert course.logits[step] == pytest.approx(logits[0, 5], abs=1e-5)
            assert course.curve[step] == pytest.approx(probabilities[0, 5], abs=1e-5)
        for area, curve in ((course.area, course.curve), (course.logit_area, course.logits)):
            expected = (curve[0] / 2 + curve[1:-1].sum(dtype=np.float64) + curve[-1] / 2) / STEPS
            assert area == pytest.approx(expected, abs=1e-6)


def test_both_curves_have_the_same_ends(probe: Probe, mnist: Mnist) -> None:
    """One goes from the digit to black, and the other from black to the digit, whatever the map."""
    maps = {digit: np.full((28, 28), digit, np.float32) for digit in range(10)}
    for each in measure(probe, mnist.images[3][None, None], maps).values():
        deletion, insertion = each.deletion.logits, each.insertion.logits
        np.testing.assert_allclose(deletion[[0, -1]], insertion[[-1, 0]], atol=1e-5)


def test_random_orders_do_not_depend_on_the_map(probe: Probe, mnist: Mnist) -> None:
    """The same orders every time, so that two methods stand beside the same figure."""
    random = np.random.default_rng(0)
    maps = [random.normal(size=(28, 28)).astype(np.float32) for _ in range(2)]
    one, other = (measure(probe, mnist.images[8][None, None], {7: map_})[7] for map_ in maps)
    assert one.deletion.area != other.deletion.area
    assert one.deletion.random_area == pytest.approx(other.deletion.random_area, abs=1e-6)
    assert one.insertion.random_logit_area == pytest.approx(other.insertion.random_logit_area, abs=1e-5)


def linear_probe(weights: NDArray[np.float32]) -> Probe:
    """A network whose first logit is Σ weight · pixel / 255."""
    rows = np.zeros((10, 784), np.float32)
    rows[0] = weights.reshape(-1)
    return Probe(serve([linear("logits", 10)], {"logits.weight": rows}))


def test_the_true_order_is_the_best_and_its_reverse_the_worst(mnist: Mnist) -> None:
    """Of a linear network the contributions are the whole truth: nothing falls or rises faster, random is between."""
    weights = np.random.default_rng(4).normal(size=(28, 28)).astype(np.float32)
    image = mnist.images[5]
    truth = weights * image
    probe = linear_probe(weights)
    right, wrong = (measure(probe, image[None, None], {0: map_})[0] for map_ in (truth, -truth))
    for kind, sign in (("deletion", -1), ("insertion", 1)):
        best, worst = getattr(right, kind), getattr(wrong, kind)
        assert sign * best.logit_area > sign * best.random_logit_area > sign * worst.logit_area
        assert sign * best.area > sign * best.random_area > sign * worst.area
    steps = np.cumsum(np.sort(truth[image > 0] / 255)[::-1])
    counts = [int(len(steps) * step / STEPS + 0.5) for step in range(1, STEPS + 1)]
    np.testing.assert_allclose(right.insertion.logits[1:], steps[np.array(counts) - 1], atol=1e-4)


def test_a_random_area_is_the_mean_of_several() -> None:
    """Of a single pixel all orders are the same one, and without ink nothing ever changes."""
    assert RANDOM_ORDERS == 5
    probe = linear_probe(np.ones((28, 28), np.float32))
    image = np.zeros((1, 1, 28, 28), np.uint8)
    blank = measure(probe, image, {0: np.zeros((28, 28), np.float32)})[0]
    assert blank.deletion.logits.tolist() == [0] * (STEPS + 1)
    image[0, 0, 5, 6] = 255
    single = measure(probe, image, {0: np.zeros((28, 28), np.float32)})[0]
    assert single.deletion.logits.tolist() == [1] * (STEPS // 2) + [0] * (STEPS // 2 + 1)
    assert single.deletion.logit_area == single.deletion.random_logit_area
