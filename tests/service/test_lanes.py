"""Lanes on the CPU, where their buffers, padding and order are the same as on a GPU; graphs need a real one."""

import ctypes
import gc
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service import lanes as module
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


class Cuda:
    """CUDA's runtime library as far as it is asked here: memory, and what it remembers of a failure."""

    def __init__(self, *, refuses: bool) -> None:
        self.held: dict[int, Any] = {}
        self.failure = 0
        self._refuses = refuses

    def cudaHostAlloc(self, address: Any, size: ctypes.c_size_t, _: ctypes.c_uint) -> int:  # noqa: N802 — CUDA's name
        """Memory that is not empty, or 2, which is cudaErrorMemoryAllocation."""
        if self._refuses:
            self.failure = 2
            return self.failure
        memory = ctypes.create_string_buffer(b"x" * size.value, size.value)
        address._obj.value = ctypes.addressof(memory)
        self.held[address._obj.value] = memory
        return 0

    def cudaFreeHost(self, address: ctypes.c_void_p) -> int:  # noqa: N802
        """Gives memory back, once."""
        assert address.value is not None
        del self.held[address.value]
        return 0

    def cudaGetLastError(self) -> int:  # noqa: N802
        """The last failure, which is forgotten by that."""
        last, self.failure = self.failure, 0
        return last


def test_page_locked_memory_is_the_arrays_as_long_as_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is CUDA's own, empty, and given back once, when no view of it is left."""
    cuda = Cuda(refuses=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: cuda)
    array = module._page_locked(8 * 784)
    assert array is not None and not array.any() and array.shape == (8 * 784,) and array.flags.writeable
    assert list(cuda.held) == [array.ctypes.data]
    view = array.reshape(8, 1, 28, 28)[:3]
    del array
    gc.collect()
    view[:] = 7
    assert len(cuda.held) == 1
    del view
    gc.collect()
    assert not cuda.held


def test_where_no_page_is_locked_no_failure_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's refusal is taken back, and a library that is missing or lacks the call is none."""
    cuda = Cuda(refuses=True)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: cuda)
    assert module._page_locked(784) is None and cuda.failure == 0
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert module._page_locked(784) is None

    def missing(name: str) -> object:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert module._page_locked(784) is None
