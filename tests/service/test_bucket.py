"""A rate: what it lets through, against the definition, and that processes share it."""

import mmap
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bucket import Bucket


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def bucket(rate: float, clock: Clock) -> Bucket:
    """A bucket that no other process has."""
    return Bucket(rate, memoryview(bytearray(8)).cast("d"), clock)


@given(
    st.sampled_from([0.01, 0.5, 1.0, 1.5, 7.0, 100.0]),
    st.lists(st.floats(0, 3) | st.just(0.0) | st.floats(0, 0.02), min_size=1, max_size=200),
)
def test_it_lets_through_what_a_bucket_of_tokens_does(rate: float, pauses: list[float]) -> None:
    """The oracle fills by the rate up to a second's worth, or one request; each request takes one, if it is there."""
    clock = Clock()
    tested = bucket(rate, clock)
    size = max(1.0, rate)
    tokens = size
    for pause in pauses:
        clock.now += pause
        tokens = min(size, tokens + pause * rate)
        wait = tested.take()
        if abs(tokens - 1) < 1e-6:  # a matter of rounding
            tokens -= 1 if wait == 0 else 0
            continue
        assert (wait == 0) == (tokens >= 1)
        if wait == 0:
            tokens -= 1
        else:
            assert wait == pytest.approx((1 - tokens) / rate, abs=1e-6)


def test_who_waits_as_long_as_it_says_is_let_through() -> None:
    """Nobody is let through before that."""
    clock = Clock()
    tested = bucket(3.0, clock)
    assert [tested.take() for _ in range(3)] == [0, 0, 0]
    wait = tested.take()
    clock.now += wait * 0.99
    assert tested.take() > 0
    clock.now += wait * 0.0101
    assert tested.take() == 0


def test_what_was_taken_can_be_put_back() -> None:
    """Then another can take it."""
    tested = bucket(0.5, Clock())
    assert tested.take() == 0 and tested.take() > 0
    tested.give_back()
    assert tested.take() == 0 and tested.take() > 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_share_it() -> None:
    """What a forked process takes is gone for this one, as the rate is a key's and not a worker's."""
    shared = Bucket(10.0, memoryview(mmap.mmap(-1, 8)).cast("d"), Clock())
    context = get_context("fork")
    mine, other = context.Pipe()

    def take() -> None:
        other.send([shared.take() == 0 for _ in range(7)])

    process = context.Process(target=take)
    process.start()
    assert mine.recv() == [True] * 7
    process.join()
    assert [shared.take() == 0 for _ in range(5)] == [True, True, True, False, False]
