"""Figures of a model on labelled digits, against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special, stats

from service.engine import Engine
from tests.training.conftest import make_manifest
from training.data import Digits
from training.evaluation import Evaluation, evaluate_model, interval
from training.model import DigitNet


def sure_of(*digits: int) -> NDArray[np.float64]:
    """Probabilities of 0.91 for one digit an image and 0.01 for each other."""
    return 0.01 + 0.9 * np.eye(10)[list(digits)]


def evaluation(labels: list[int], probabilities: NDArray[np.float64]) -> Evaluation:
    """Answers to black images of those labels."""
    images = np.zeros((len(labels), 1, 28, 28), np.uint8)
    return Evaluation("some", Digits(images, np.array(labels, np.uint8)), np.log(probabilities + 1e-99), probabilities)


def test_the_figures_are_those_of_paper_and_pencil() -> None:
    """Of five digits two are misread: accuracy, cross-entropy, places and confusion follow."""
    found = evaluation([3, 3, 7, 0, 7], sure_of(3, 8, 7, 0, 1))
    assert found.predictions.tolist() == [3, 8, 7, 0, 1]
    assert found.accuracy == 3 / 5
    assert found.loss == pytest.approx(-(3 * math.log(0.91) + 2 * math.log(0.01)) / 5)
    assert found.misread.tolist() == [1, 4]
    expected = np.zeros((10, 10))
    for label, read in ((3, 3), (3, 8), (7, 7), (0, 0), (7, 1)):
        expected[label, read] = 1
    np.testing.assert_array_equal(found.confusion, expected)
    right, wrong = 0.09**2 + 9 * 0.01**2, 0.99**2 + 0.91**2 + 8 * 0.01**2
    assert found.brier == pytest.approx([right, wrong, right, right, wrong])
    brier = (3 * right + 2 * wrong) / 5
    expected_figures = {"some_accuracy": 0.6, "some_loss": found.loss, "some_brier": pytest.approx(brier)}
    assert found.metrics() == expected_figures


def test_repeated_confusions_are_counted() -> None:
    """The same mistake three times is a three in the matrix, in the row of the label."""
    confusion = evaluation([4, 4, 4], sure_of(9, 9, 9)).confusion
    assert confusion[4, 9] == confusion.sum() == 3


def test_a_label_held_impossible_gives_a_finite_loss() -> None:
    """A probability that float32 rounded to 0 counts as its smallest number."""
    assert evaluation([2], np.eye(10)[[5]]).loss == pytest.approx(-math.log(np.finfo(np.float32).tiny))


def test_a_model_s_answers_are_gathered_over_batches(network: DigitNet, digits: Digits) -> None:
    """More digits than one batch holds get the network's probabilities, in their order."""
    some = digits.take(slice(507))
    model, manifest = make_manifest(network, 1.5, some)
    found = evaluate_model(Engine(model, manifest, provider="cpu"), "some", some)
    assert (found.name, found.digits) == ("some", some)
    assert found.probabilities.dtype == np.float64
    logits = network.double()(torch.tensor(some.images).double()).detach().numpy()
    np.testing.assert_allclose(found.probabilities, special.softmax(logits / 1.5, axis=1), rtol=0, atol=1e-5)


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Of 200 samples of 300 draws each, about 95 % have the true mean within; SciPy's bootstrap agrees on its ends."""
    generator = np.random.default_rng(3)
    samples = (generator.random((200, 300)) < 0.7).astype(np.float64)
    found = [interval(sample, 300) for sample in samples]
    assert 0.9 <= np.mean([low <= 0.7 <= high for low, high in found]) <= 0.99
    theirs = stats.bootstrap((samples[0],), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    assert interval(samples[0]) == pytest.approx((theirs.low, theirs.high), abs=0.01)
