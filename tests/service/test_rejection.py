"""Why answers are rejected, against plain Python that looks at one image after the other, and SciPy."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from service.manifest import Manifest, Rejection
from service.rejection import REASONS, Gates, evidence
from tests.conftest import Mnist

numbers = st.floats(-80, 80, width=32)
logits_of = arrays(np.float32, st.tuples(st.integers(1, 6), st.just(10)), elements=numbers)
thresholds = st.builds(
    Rejection, evidence=st.none() | st.floats(-90, 90), confidence=st.none() | st.floats(0, 1, width=32)
)


def gates(manifest: Manifest, rejection: Rejection, temperature: float = 1.0) -> Gates:
    """Those of a model with such thresholds."""
    return Gates(manifest.model_copy(update={"rejection": rejection, "temperature": temperature}))


def told(found: Sequence[str | None], count: int) -> list[str | None]:
    """The reasons, one an image also where none is rejected."""
    return list(found) or [None] * count


@settings(deadline=None, max_examples=200)
@given(logits_of, st.floats(0.1, 8))
def test_evidence_is_of_the_logits_before_the_temperature(logits: NDArray[np.float32], temperature: float) -> None:
    """It is SciPy's logsumexp of them in float64, with no overflow, however large they are."""
    expected = logsumexp(logits.astype(np.float64) * temperature, axis=1)
    np.testing.assert_allclose(evidence(logits, temperature), expected, rtol=1e-12, atol=1e-12)


images = st.one_of(
    arrays(np.uint8, (28, 28)),
    st.integers(0, 255).map(lambda level: np.full((28, 28), level, np.uint8)),
    arrays(np.uint8, (28, 28), elements=st.integers(0, 13)),
    st.tuples(st.integers(0, 783), st.integers(0, 255)).map(lambda dot: _dot(*dot)),
)


def _dot(place: int, level: int) -> NDArray[np.uint8]:
    image = np.zeros(784, np.uint8)
    image[place] = level
    return image.reshape(28, 28)


def expected_reason(
    image: NDArray[np.uint8], logits: NDArray[np.float32], temperature: float, rejection: Rejection, noted: str | None
) -> set[str | None]:
    """The reason of one image, or both where the evidence is as good as at its threshold."""
    levels = set(image.reshape(-1).tolist())
    if noted == "blank" or len(levels) == 1 or max(levels) < 12:
        return {"blank"}
    if noted == "several":
        return {"several"}
    found = math.fsum(math.exp(float(logit) * temperature) for logit in logits)
    confidence = float(softmax(logits).max())
    rest: str | None = None
    if rejection.confidence is not None and confidence < rejection.confidence:
        rest = "ambiguous"
    if rejection.evidence is None:
        return {rest}
    distance = math.log(found) - rejection.evidence if found else -math.inf
    if abs(distance) < 1e-9:
        return {"not_a_digit", rest}
    return {"not_a_digit"} if distance < 0 else {rest}


@settings(deadline=None, max_examples=300)
@given(logits_of, thresholds, st.floats(0.5, 2), st.data())
def test_each_image_has_the_first_reason_that_holds(
    manifest: Manifest, logits: NDArray[np.float32], rejection: Rejection, temperature: float, data: st.DataObject
) -> None:
    """Blank, several, not a digit, ambiguous: whatever a run mixes, each is told what it is told by itself."""
    count = len(logits)
    pictures = data.draw(st.lists(images, min_size=count, max_size=count))
    noted = data.draw(
        st.just([]) | st.lists(st.sampled_from([None, "several", "blank"]), min_size=count, max_size=count)
    )
    probabilities = softmax(logits, axis=1)
    found = gates(manifest, rejection, temperature).reasons(
        np.stack(pictures)[:, None], logits, logits.max(axis=1), probabilities.max(axis=1), noted
    )
    for image, row, why, reason in zip(pictures, logits, noted or [None] * count, told(found, count), strict=True):
        assert reason in expected_reason(image, row, temperature, rejection, why)
        assert reason is None or reason in REASONS


def test_at_its_threshold_an_answer_is_accepted(manifest: Manifest, mnist: Mnist) -> None:
    """Rejected is what lies below, by however little, in whichever of the two numbers."""
    logits = np.array([[2, *[-100] * 9]], np.float32)
    confidences = np.array([0.75], np.float32)
    for rejection, reason in [
        (Rejection(evidence=2.0, confidence=0.75), None),
        (Rejection(evidence=np.nextafter(2.0, 3), confidence=0.75), "not_a_digit"),
        (Rejection(evidence=2.0, confidence=np.nextafter(0.75, 1)), "ambiguous"),
    ]:
        found = gates(manifest, rejection).reasons(mnist.images[:1, None], logits, logits.max(axis=1), confidences)
        assert told(found, 1) == [reason]


@pytest.mark.parametrize("size", [1, 32, 1000])
def test_no_digit_of_mnist_is_blank(manifest: Manifest, mnist: Mnist, size: int) -> None:
    """Without thresholds none of the 10,000 is rejected, in runs of whichever size, and that nothing is told of."""
    judge, logits, confidences = (
        gates(manifest, Rejection()),
        np.zeros((size, 10), np.float32),
        np.zeros(size, np.float32),
    )
    for start in range(0, 10_000 - size, size):
        found = judge.reasons(mnist.images[start : start + size, None], logits, confidences, confidences)
        assert not any(found)
