"""What is asked again, when, and for how long."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.retry import backoff, retry_after

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@given(st.integers(1, 10_000), st.floats(0, 60), st.floats(0, 1))
def test_waits_grow_up_to_a_bound_and_obey_the_service(attempt: int, after: float, chance: float) -> None:
    """A wait is from half to all of 0.1 s doubled by each attempt, at most 10 s, beyond what the service asks for."""
    most = min(10, 0.1 * 2 ** min(attempt - 1, 50))
    assert after + most / 2 <= backoff(attempt, after, lambda: chance) <= after + most + 1e-9


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0), ("", 0), ("0", 0), ("1", 1), ("120", 120), ("soon", 0), ("-3", 0), ("1.5", 0),
        ("inf", 0), ("9" * 400, 1e9),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 1e9), ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Sat, 28 Nov 99999999999 12:00:00 GMT", 0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        ("Sat, 28 Nov 2026 12:00:05", 0),  # without a zone it is no date of HTTP
    ],
)  # fmt: skip
def test_retry_after_is_a_number_of_seconds_or_a_date(header: str | None, seconds: float) -> None:
    """Both forms of RFC 9110 are read, and whatever else is sent counts as nothing."""
    assert retry_after(header, NOW) == seconds
