"""Channels as a query has them, read and written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import MalformedError
from service.inside.channels import as_text, choose_channels


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6, 7]),
        (["3"], [3]),
        (["0,3,5-7"], [0, 3, 5, 6, 7]),
        (["7", "0-1"], [0, 1, 7]),
        ([" 5 , 2-2,5 "], [2, 5]),
        (["0-7"], [0, 1, 2, 3, 4, 5, 6, 7]),
        (["6-7,5-6,07"], [5, 6, 7]),
    ],
)
def test_numbers_and_ranges_are_read(asked: list[str], chosen: list[int]) -> None:
    """By repetition, by commas and as ranges: each channel once, in ascending order, and all where none is named."""
    assert choose_channels(asked, "conv1", 8).tolist() == chosen


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("8", "channels: conv1 has 0 to 7, and 8 is asked for"),
        ("0-8", "channels: conv1 has 0 to 7, and 8 is asked for"),
        ("0-999999999", "channels: conv1 has 0 to 7, and 999999999 is asked for"),
        ("5-3", "channels: the range 5-3 is to begin with its smaller number"),
        ("", "channels: '' is neither a number nor a range such as 5-7"),
        ("1,", "channels: '' is neither a number nor a range such as 5-7"),
        ("-1", "channels: '-1' is neither a number nor a range such as 5-7"),
        ("1-", "channels: '1-' is neither a number nor a range such as 5-7"),
        ("1-2-3", "channels: '1-2-3' is neither a number nor a range such as 5-7"),
        ("1.0", "channels: '1.0' is neither a number nor a range such as 5-7"),
        ("٣", "channels: '٣' is neither a number nor a range such as 5-7"),
        ("9" * 5000, f"channels: '{'9' * 40}' is neither a number nor a range such as 5-7"),
    ],
)
def test_what_is_no_channel_is_refused(asked: str, said: str) -> None:
    """Beyond the last one, backwards, negative or no number, also beside right ones; the sentence says what and why."""
    for items in ([asked], ["0", asked]):
        with pytest.raises(MalformedError) as refusal:
            choose_channels(items, "conv1", 8)
        assert str(refusal.value) == said


@settings(deadline=None)
@given(st.sets(st.integers(0, 40), min_size=1))
def test_a_written_choice_is_read_back(chosen: set[int]) -> None:
    """Whatever was chosen, its text chooses the same, and neighbours are written as one range."""
    channels = np.array(sorted(chosen))
    text = as_text(channels)
    assert choose_channels([text], "conv2", 41).tolist() == channels.tolist()
    assert len(text.split(",")) == sum(channel - 1 not in chosen for channel in chosen)
