"""Answers as JSON."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.answer import json_answer, to_json

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4)), elements=finite))
def test_float32_comes_back_bit_by_bit(values: NDArray[np.float32]) -> None:
    """Python's own parser reads every value back exactly, nested as the array is."""
    back = np.array(json.loads(to_json({"values": values}))["values"], np.float32)
    np.testing.assert_array_equal(back, values, strict=True)


def test_float32_has_few_digits() -> None:
    """A value is not blown up to the digits of a float64."""
    assert to_json([np.float32(0.1), np.array([0.2], np.float32)]) == b"[0.1,[0.2]]"


def test_an_answer_says_that_it_is_json() -> None:
    """Type and status are set, and text is UTF-8."""
    answer = json_answer({"error": "28×28"}, 400)
    assert (answer.status_code, answer.media_type) == (400, "application/json")
    assert bytes(answer.body) == '{"error":"28×28"}'.encode()
