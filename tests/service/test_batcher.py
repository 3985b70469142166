"""Requests that wait together run together, and each gets its own answers."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batcher import Batcher
from service.errors import EngineError, OverloadedError

Result = TypeVar("Result")


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine, which is not waited for without end."""
    return asyncio.run(asyncio.wait_for(work, 20))


class Recorder:
    """A function of batches, which notes them: it squares, and fails on a batch with a negative number."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, items: list[int]) -> list[int]:
        """The squares of the items."""
        self.batches.append(list(items))
        if min(items) < 0:
            raise EngineError("a negative number")
        return [item**2 for item in items]


def submit_all(
    requests: Sequence[Sequence[int]], run: Recorder, *, max_batch: int = 4, max_waiting: int = 10_000
) -> list[list[int] | BaseException]:
    """The answers to requests that are submitted in one turn of the event loop."""

    async def main() -> list[list[int] | BaseException]:
        batcher = Batcher(run, max_batch=max_batch, max_waiting=max_waiting)
        return await asyncio.gather(*(batcher.submit(request) for request in requests), return_exceptions=True)

    return finish(main())


@pytest.fixture
def run() -> Recorder:
    """A fresh recorder."""
    return Recorder()


def test_what_waits_runs_together_in_order(run: Recorder) -> None:
    """Requests fill batches in the order in which they came, and none is split."""
    answers = submit_all([[1], [2, 3], [4], [5, 6, 7], [8]], run)
    assert run.batches == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert answers == [[1], [4, 9], [16], [25, 36, 49], [64]]


def test_a_request_that_does_not_fit_waits_for_the_next_batch(run: Recorder) -> None:
    """A batch stays below its limit rather than taking a part of a request, or a later one first."""
    submit_all([[1, 2, 3], [4, 5], [6]], run)
    assert run.batches == [[1, 2, 3], [4, 5, 6]]


def test_a_request_beyond_the_limit_is_a_batch_by_itself(run: Recorder) -> None:
    """A large request is answered whole, apart from its neighbours."""
    large = list(range(10))
    assert submit_all([[1], large, [2]], run)[1] == [item**2 for item in large]
    assert run.batches == [[1], large, [2]]


def test_a_lone_request_is_answered_at_once(run: Recorder) -> None:
    """Nothing is waited for: the answer is there after the very next turn of the event loop."""

    async def main() -> None:
        batcher = Batcher(run, max_batch=4, max_waiting=10)
        request = asyncio.ensure_future(batcher.submit([3]))
        await asyncio.sleep(0)  # the request joins the queue
        assert run.batches == []
        await asyncio.sleep(0)  # its turn
        assert run.batches == [[3]]
        await asyncio.sleep(0)
        assert request.done() and request.result() == [9]

    finish(main())


def test_requests_later_on_are_answered_too(run: Recorder) -> None:
    """The queue works again after it was empty."""

    async def main() -> list[list[int]]:
        batcher = Batcher(run, max_batch=4, max_waiting=10)
        return [await batcher.submit([item]) for item in range(3)]

    assert finish(main()) == [[0], [1], [4]]
    assert run.batches == [[0], [1], [2]]


def test_a_failure_reaches_each_waiter_of_its_batch_and_no_other(run: Recorder) -> None:
    """Who shared the batch gets the error itself; batches before and after are answered."""
    answers = submit_all([[1, 2, 3, 4], [5, -6], [7], [8, 9]], run)
    assert answers[0] == [1, 4, 9, 16]
    assert [type(answer) for answer in answers[1:3]] == [EngineError, EngineError]
    assert str(answers[1]) == "a negative number"
    assert answers[3] == [64, 81]


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_wrong_number_of_answers_is_never_paired(surplus: int) -> None:
    """With an answer too many or too few nobody gets one that may be another's."""

    async def main() -> list[list[int] | BaseException]:
        batcher: Batcher[int, int] = Batcher(lambda items: [0] * (len(items) + surplus), max_batch=4, max_waiting=10)
        requests = [batcher.submit([1]), batcher.submit([2])]
        return await asyncio.gather(*requests, return_exceptions=True)

    for answer in finish(main()):
        assert isinstance(answer, RuntimeError) and str(answer) == f"2 items got {2 + surplus} answers"


def test_cancelled_requests_are_skipped(run: Recorder) -> None:
    """What a client that has gone asked for is not computed, also where it was alone, and its place is free again."""

    async def main() -> None:
        batcher = Batcher(run, max_batch=4, max_waiting=3)
        gone, stays = (asyncio.ensure_future(batcher.submit([item])) for item in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == [4]
        alone = asyncio.ensure_future(batcher.submit([3, 3, 3]))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await batcher.submit([4, 5, 6]) == [16, 25, 36]

    finish(main())
    assert run.batches == [[2], [4, 5, 6]]


def test_overload_is_refused_at_once(run: Recorder) -> None:
    """What would wait beyond the limit is refused, and all that waits is answered."""
    answers = submit_all([[1, 2], [3, 4], [5, 6], [7]], run, max_waiting=5)
    assert [str(answer) for answer in answers if isinstance(answer, OverloadedError)] == [
        "4 images wait already, and at most 5 may"
    ]
    assert [answer for answer in answers if isinstance(answer, list)] == [[1, 4], [9, 16], [49]]
    assert isinstance(answers[2], OverloadedError)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(-3, 300), min_size=1, max_size=9), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(10, 200),
)
def test_any_load_gets_its_own_answers(requests: list[list[int]], max_batch: int, max_waiting: int) -> None:
    """Each of many requests gets its squares, or the failure of its own batch, or a refusal; batches keep the order."""
    run = Recorder()
    answers = submit_all(requests, run, max_batch=max_batch, max_waiting=max_waiting)
    taken = [pair for pair in zip(requests, answers, strict=True) if not isinstance(pair[1], OverloadedError)]
    assert [item for batch in run.batches for item in batch] == [item for request, _ in taken for item in request]
    batch_of_item = [number for number, batch in enumerate(run.batches) for _ in batch]
    place = 0
    for request, answer in taken:
        numbers = set(batch_of_item[place : place + len(request)])
        assert len(numbers) == 1, "a request was split"
        batch = run.batches[numbers.pop()]
        assert len(batch) <= max_batch or batch == request
        assert isinstance(answer, EngineError) if min(batch) < 0 else answer == [item**2 for item in request]
        place += len(request)
