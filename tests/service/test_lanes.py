"""Lanes on the CPU, where their buffers, padding and order are the same as on a GPU; graphs need a real one."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.lanes import SIZES, Lanes
from service.manifest import Manifest
from tests.conftest import Mnist


@pytest.fixture(scope="module")
def lanes(model_bytes: bytes, manifest: Manifest) -> Lanes:
    """The shipped model's lanes in the CPU's memory."""
    session = ort.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
    outputs = {output.name: output.shape[1:] for output in manifest.outputs}
    return Lanes(session, manifest.input.name, outputs, device="cpu", graphs=False)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 33, 128, 513, SIZES[-1], SIZES[-1] + 1, 2 * SIZES[-1] + 9])
def test_a_batch_of_any_size_gets_its_own_answers(lanes: Lanes, plain: Any, mnist: Mnist, count: int) -> None:
    """Padding changes no answer: below, at and above the size of each lane, they are those of a plain session."""
    images = mnist.images[:count, None]
    for found, right in zip(lanes.run(images), plain.run(["logits", "probabilities"], {"image": images}), strict=True):
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, atol=2e-4)


def test_what_a_lane_answered_stays(lanes: Lanes, mnist: Mnist) -> None:
    """An answer is no view of the buffers, which the next batch overwrites."""
    kept = lanes.run(mnist.images[:5, None])
    first = [output.copy() for output in kept]
    lanes.run(mnist.images[5:10, None])
    for output, before in zip(kept, first, strict=True):
        np.testing.assert_array_equal(output, before)


def test_nothing_of_a_larger_batch_is_left_in_a_smaller_one(lanes: Lanes, mnist: Mnist) -> None:
    """After a full lane, the same lane answers a part of it with that part's digits alone."""
    lanes.run(mnist.images[:8, None])
    found = lanes.run(mnist.images[8:11, None])[1].argmax(axis=1)
    np.testing.assert_array_equal(found, mnist.labels[8:11])
