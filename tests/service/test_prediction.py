"""Answers as numbers and as JSON: each request's part of a run, and a large request's parts as one."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.prediction import Prediction, Run, joined
from service.rejection import REASONS

numbers = st.floats(0, 1, width=32)
probabilities = arrays(np.float32, st.tuples(st.integers(1, 6), st.just(10)), elements=numbers)


@settings(deadline=None, max_examples=100)
@given(probabilities)
def test_json_has_each_images_numbers_exactly(values: NDArray[np.float32]) -> None:
    """Python's own parser reads back the digit, its probability and all ten, bit by bit, however small they are."""
    answers = [json.loads(text) for text in Run(values, values).json]
    assert len(answers) == len(values)
    for row, answer in zip(values, answers, strict=True):
        assert list(answer) == ["digit", "confidence", "rejected", "reason", "probabilities"]
        assert answer["rejected"] is False and answer["reason"] is None
        np.testing.assert_array_equal(np.array(answer["probabilities"], np.float32), row)
        assert answer["digit"] == max(range(10), key=lambda digit, row=row: row[digit])  # type: ignore[misc]
        assert answer["confidence"] == answer["probabilities"][answer["digit"]]


@settings(deadline=None, max_examples=100)
@given(probabilities, st.data())
def test_bytes_are_those_of_the_part(values: NDArray[np.float32], data: st.DataObject) -> None:
    """Read back they are the rows of the part and no others, of either output."""
    start = data.draw(st.integers(0, len(values) - 1))
    part = Prediction(Run(-values, values), start, data.draw(st.integers(start + 1, len(values))))
    for name, expected in (("logits", part.logits), ("probabilities", part.probabilities)):
        np.testing.assert_array_equal(np.frombuffer(part.written(name), "<f4").reshape(-1, 10), expected)


@settings(deadline=None, max_examples=100)
@given(probabilities, st.data())
def test_what_is_rejected_is_answered_all_the_same(values: NDArray[np.float32], data: st.DataObject) -> None:
    """Each image has its own reason and is rejected where it has one, and nothing else of any answer is another."""
    reasons = data.draw(st.lists(st.none() | st.sampled_from(REASONS), min_size=len(values), max_size=len(values)))
    accepted = [json.loads(text) for text in Run(values, values).json]
    for answer, whole, reason in zip(Run(values, values, reasons).json, accepted, reasons, strict=True):
        assert json.loads(answer) == whole | {"rejected": reason is not None, "reason": reason}
        assert list(json.loads(answer)) == list(whole)


@settings(deadline=None, max_examples=60)
@given(probabilities, st.data())
def test_requests_take_their_parts_of_a_run(values: NDArray[np.float32], data: st.DataObject) -> None:
    """Numbers and JSON of a part are those of its images, and the parts put together are the whole again."""
    reasons = data.draw(
        st.just([]) | st.lists(st.sampled_from([None, *REASONS]), min_size=len(values), max_size=len(values))
    )
    run = Run(values * 2, values, reasons)
    np.testing.assert_array_equal(run.confidences, values.max(axis=1))
    np.testing.assert_array_equal(run.largest, run.logits.max(axis=1))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    bounds = list(zip([0, *cuts], [*cuts, len(values)], strict=True))
    parts = [Prediction(run, start, stop) for start, stop in bounds]
    for part, (start, stop) in zip(parts, bounds, strict=True):
        np.testing.assert_array_equal(part.logits, values[start:stop] * 2)
        np.testing.assert_array_equal(part.probabilities, values[start:stop])
        assert part.json == run.json[start:stop]
        assert part.reasons == reasons[start:stop]
    whole = joined(parts)
    np.testing.assert_array_equal(whole.logits, values * 2)
    np.testing.assert_array_equal(whole.probabilities, values)
    whole.reasons = reasons
    assert whole.json == run.json
