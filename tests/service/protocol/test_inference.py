"""The protocol's rules for tensors, apart from their transport."""

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.errors import MalformedError, RequestError, TooLargeError
from service.manifest import Manifest
from service.protocol.inference import (
    Output,
    check_input,
    classified,
    pixels_of_bytes,
    pixels_of_values,
    select,
)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(-2, 40) | st.just(28) | st.just(1), max_size=5))
def test_only_the_models_own_shape_is_taken(manifest: Manifest, shape: list[int]) -> None:
    """Any number of 1×28×28 from 1 to the limit, and the number of its values is told."""
    fits = len(shape) == 4 and shape[1:] == [1, 28, 28]
    if fits and 1 <= shape[0] <= 9:
        assert check_input("image", "UINT8", shape, manifest, 9) == prod(shape)
    else:
        with pytest.raises(TooLargeError if fits and shape[0] > 9 else MalformedError):
            check_input("image", "UINT8", shape, manifest, 9)


@settings(deadline=None, max_examples=60)
@given(arrays(np.uint8, st.integers(1, 60)))
def test_levels_are_the_same_from_bytes_and_from_numbers(values: NDArray[np.uint8]) -> None:
    """Of datatype UINT8 each value is its own byte, and nothing is copied of bytes."""
    data = values.tobytes()
    assert pixels_of_bytes(data, "UINT8", len(values)) is data
    assert pixels_of_values(values.tolist(), "UINT8") == data


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=2), min_size=1, max_size=5))
def test_any_values_are_pixels_or_refused(values: list[Any]) -> None:
    """Exactly whole numbers of 0 to 255 are levels, and exactly numbers of 0 to 1 are real ones; each rounds right."""
    whole = all(type(value) is int and 0 <= value <= 255 for value in values)
    real = all(type(value) in (int, float) and 0 <= value <= 1 for value in values)  # as they were sent, not rounded
    for datatype, taken in (("UINT8", whole), ("FP32", real)):
        if taken:
            pixels = list(pixels_of_values(values, datatype))
            scale = 1 if datatype == "UINT8" else 255
            assert all(abs(pixel - value * scale) <= 0.501 for pixel, value in zip(pixels, values, strict=True))
        else:
            with pytest.raises(RequestError):
                pixels_of_values(values, datatype)


@pytest.mark.parametrize(("datatype", "width"), [("UINT8", 1), ("FP32", 4)])
@pytest.mark.parametrize("off", [-1, 1, 4])
def test_bytes_of_another_length_are_refused(datatype: str, width: int, off: int) -> None:
    """Both numbers are named."""
    with pytest.raises(
        MalformedError, match=f"has {8 * width + off} bytes, but its shape and datatype say {8 * width}$"
    ):
        pixels_of_bytes(bytes(8 * width + off), datatype, 8)


def test_the_models_own_outputs_are_the_default(manifest: Manifest) -> None:
    """In the manifest's order, in JSON or in bytes as it is said."""
    for binary in (False, True):
        selection = select((), manifest, binary=binary)
        assert selection.outputs == (Output("logits", binary), Output("probabilities", binary))
        assert selection.numbers == binary and selection.predicted and selection.layers == ()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([Output("conv3")], "the model has no output 'conv3'"),
        ([Output("x" * 99)], f"the model has no output '{'x' * 40}'"),
        ([Output("fc1", classes=1)], "classification is of logits or probabilities, and 'fc1' has no classes"),
        ([Output("logits"), Output("fc1"), Output("logits", binary=True)], "an output is asked for twice"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(manifest: Manifest, asked: list[Output], said: str) -> None:
    """By a sentence that names what is wrong."""
    with pytest.raises(MalformedError) as error:
        select(tuple(asked), manifest)
    assert str(error.value) == said


@settings(deadline=None, max_examples=100)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 4), st.just(10)), elements=st.floats(-9, 9, width=16)),
    st.integers(1, 12),
)
def test_classes_are_ordered_by_score_and_then_by_number(scores: NDArray[np.float32], classes: int) -> None:
    """Best first, of equal ones the lower digit first, each with its own score and label."""
    labels = [f"label {digit}" for digit in range(10)]
    told = classified(scores, classes, labels)
    count = min(classes, 10)
    assert len(told) == len(scores) * count
    for row, start in zip(scores.tolist(), range(0, len(told), count), strict=True):
        best = sorted(range(10), key=lambda digit, row=row: (-row[digit], digit))[:count]  # type: ignore[misc]
        assert told[start : start + count] == [f"{row[digit]:.6f}:{digit}:label {digit}" for digit in best]
