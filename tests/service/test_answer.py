"""Answers as JSON."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service import answer
from service.answer import in_pieces, json_answer, to_json, written

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


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), elements=finite))
def test_pieces_are_the_same_json(values: NDArray[np.float32]) -> None:
    """Byte for byte, of any shape, and whatever stands beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer, "_PIECE", 7)
        assert to_json({"a": [1], "values": in_pieces(values)}) == to_json({"a": [1], "values": values})


@pytest.mark.parametrize("shape", [(256, 8, 28, 28), (600, 1568), (100_000,), (3, 1, 20_001), (8001,)])
def test_no_piece_is_large(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    """However many numbers there are, orjson never gets more than 8,000 at once, nor few at a time."""
    values = np.zeros(shape, np.float32)
    sizes = []

    def counted(content: Any) -> bytes:
        sizes.append(content.size)
        return to_json(content)

    monkeypatch.setattr(answer, "to_json", counted)
    written = in_pieces(values)
    assert max(sizes) <= 8000 and sum(sizes) == values.size and len(sizes) <= values.size / 2000 + 3
    assert to_json(written) == to_json(values)


def test_few_numbers_stay_as_they_are() -> None:
    """They are written with the rest, as is an array of none."""
    for shape in ((8000,), (10, 28, 28), (5, 0), ()):
        values = np.zeros(shape, np.float32)
        assert in_pieces(values) is values


def test_an_answer_says_that_it_is_json() -> None:
    """Type and status are set, and text is UTF-8."""
    answer = json_answer({"error": "28×28"}, 400)
    assert (answer.status_code, answer.media_type) == (400, "application/json")
    assert bytes(answer.body) == '{"error":"28×28"}'.encode()


def test_a_part_may_be_written_before_the_whole() -> None:
    """The answer is the same, byte for byte."""
    parts = [{"channel": number, "values": np.arange(3, dtype=np.float32)} for number in range(3)]
    assert to_json({"parts": [written(part) for part in parts]}) == to_json({"parts": parts})
