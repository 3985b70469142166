"""Requests that wait together run together, and each gets its own answer, whatever becomes of its neighbours."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batcher import Batcher, Pieces
from service.errors import DeadlineError, EngineError, GoneError, OverloadedError
from tests.service.asgi import finish
from tests.service.clock import Clock, Engine

Squares = list[int] | BaseException


class Recorder:
    """A function of batches, which notes them: it squares, and fails on a batch with a negative number.

    On a clock it takes as many seconds as it is told.
    """

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.clock: Clock | None = None
        self.seconds = 0.0

    def __call__(self, items: list[list[int]]) -> list[list[int]]:
        """The squares of the items."""
        self.batches.append(list(items))
        if self.clock is not None:
            self.clock.now += self.seconds
        if min(map(min, items)) < 0:
            raise EngineError(f"a negative number in {items}")
        return [[number**2 for number in item] for item in items]


def batcher(run: Callable[[list[Any]], Sequence[Any]], **options: Any) -> Batcher[Any, Any]:
    """A batcher of at most 4, with limits that are out of the way unless a test names them."""
    return Batcher(run, **{"max_batch": 4, "max_waiting": 10_000, "max_wait": 10_000.0, **options})


def submit_all(requests: Sequence[list[int]], run: Recorder, **options: Any) -> list[Squares]:
    """The answers to requests that are submitted in one turn of the event loop, or the refusals."""

    async def main() -> list[Squares]:
        own = batcher(run, **options)

        async def submit(request: list[int]) -> list[int]:
            answer: list[int] = await own.submit(request, len(request))
            return answer

        return await asyncio.gather(*map(submit, requests), return_exceptions=True)

    return finish(main())


@pytest.fixture
def run() -> Recorder:
    """A fresh recorder."""
    return Recorder()


@pytest.fixture
def clock(run: Recorder) -> Clock:
    """A clock that the recorder's work takes its time of."""
    run.clock = Clock()
    return run.clock


def on(clock: Clock, main: Any) -> Any:
    """What a test does on a clock."""
    return clock.finish(main, "service.batcher")


def test_what_waits_runs_together_in_order(run: Recorder) -> None:
    """Requests fill batches in the order in which they came, and none is split."""
    answers = submit_all([[1], [2, 3], [4], [5, 6, 7], [8]], run)
    assert run.batches == [[[1], [2, 3], [4]], [[5, 6, 7], [8]]]
    assert answers == [[1], [4, 9], [16], [25, 36, 49], [64]]


def test_a_request_that_does_not_fit_waits_for_the_next_batch(run: Recorder) -> None:
    """A batch stays below its limit rather than taking a part of a request, or a later one first."""
    submit_all([[1, 2, 3], [4, 5], [6]], run)
    assert run.batches == [[[1, 2, 3]], [[4, 5], [6]]]


def test_a_request_beyond_the_limit_is_a_batch_by_itself(run: Recorder) -> None:
    """A large request is answered whole, apart from its neighbours."""
    large = list(range(10))
    assert submit_all([[1], large, [2]], run)[1] == [item**2 for item in large]
    assert run.batches == [[[1]], [large], [[2]]]


def test_a_lone_request_is_answered_at_once(run: Recorder) -> None:
    """Nothing is waited for: the answer is there after the very next turn of the event loop."""

    async def main() -> None:
        request = batcher(run).submit([3])
        assert run.batches == []
        await asyncio.sleep(0)  # its turn
        assert run.batches == [[[3]]]
        assert request.done() and request.result() == [9]

    finish(main())


def test_requests_later_on_are_answered_too(run: Recorder) -> None:
    """The queue works again after it was empty."""

    async def main() -> list[list[int]]:
        own = batcher(run)
        return [await own.submit([item]) for item in range(3)]

    assert finish(main()) == [[0], [1], [4]]
    assert run.batches == [[[0]], [[1]], [[2]]]


def test_a_failure_takes_no_neighbour_with_it(run: Recorder) -> None:
    """Who shared a batch with a poisoned item is answered as if alone; the poisoned one gets its own error."""
    answers = submit_all([[1, 2, 3, 4], [5], [-6], [7], [8, 9]], run)
    assert answers[0] == [1, 4, 9, 16]
    assert [answers[1], answers[3], answers[4]] == [[25], [49], [64, 81]]
    assert isinstance(answers[2], EngineError) and str(answers[2]) == "a negative number in [[-6]]"
    assert run.batches[1:] == [[[5], [-6], [7]], [[5]], [[-6]], [[7]], [[8, 9]]]


def test_where_all_fail_each_gets_an_error_of_its_own(run: Recorder) -> None:
    """An engine that answers nothing fails every waiter, each by the error of its own run, and nothing hangs."""
    answers = submit_all([[-1], [-2], [-3]], run)
    assert [str(answer) for answer in answers] == [f"a negative number in [[-{number}]]" for number in (1, 2, 3)]


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_wrong_number_of_answers_is_never_paired(surplus: int) -> None:
    """With an answer too many or too few nobody gets one that may be another's."""

    async def main() -> list[Squares]:
        own = batcher(lambda items: [0] * (len(items) + surplus))
        answers: list[Squares] = await asyncio.gather(own.submit(1), own.submit(2), return_exceptions=True)
        return answers

    for answer in finish(main()):
        assert isinstance(answer, RuntimeError) and str(answer) == f"1 items got {1 + surplus} answers"


def test_a_wrong_number_of_answers_to_several_is_asked_anew() -> None:
    """A function that miscounts only where several meet is asked for each alone, and then answers."""

    async def main() -> list[int]:
        own = batcher(lambda items: [number * 10 for number in items][: 1 if len(items) > 1 else None])
        return list(await asyncio.gather(*map(own.submit, (1, 2, 3))))

    assert finish(main()) == [10, 20, 30]


def test_cancelled_requests_are_skipped(run: Recorder) -> None:
    """What a client that has gone asked for is not computed, also where it was alone, and its place is free again."""

    async def main() -> None:
        own = batcher(run, max_waiting=3)
        gone, stays = (own.submit([item]) for item in (1, 2))
        gone.cancel()
        assert await stays == [4]
        alone = own.submit([3, 3, 3], 3)
        alone.cancel()
        await asyncio.sleep(0)
        first, second = own.submit([4], 1), own.submit([5, 6], 2)
        assert (await first, await second) == ([16], [25, 36])

    finish(main())
    assert run.batches == [[[2]], [[4], [5, 6]]]


def test_overload_is_refused_at_once(run: Recorder) -> None:
    """What would wait beyond the limit is refused, and all that waits is answered."""
    answers = submit_all([[1, 2], [3, 4], [5, 6], [7]], run, max_waiting=5)
    assert [str(answer) for answer in answers if isinstance(answer, OverloadedError)] == [
        "4 images wait already, and at most 5 may"
    ]
    assert [answer for answer in answers if isinstance(answer, list)] == [[1, 4], [9, 16], [49]]
    assert isinstance(answers[2], OverloadedError)


def test_each_caller_has_a_share_of_the_queue(run: Recorder) -> None:
    """One alone may fill half of it; another who comes then finds room, and a third does."""

    async def main() -> None:
        own = batcher(run, max_waiting=12)
        taken = [own.submit([number], caller="greedy") for number in range(6)]
        refused = "^6 images of the same caller wait already, and others are to find room$"
        with pytest.raises(OverloadedError, match=refused):
            own.submit([99], caller="greedy")
        taken += [own.submit([number], caller="second") for number in range(6, 9)]
        with pytest.raises(OverloadedError):
            own.submit([99], caller="second")
        taken.append(own.submit([9], caller="third"))
        assert own.refusal(1, "greedy") is not None and own.refusal(1, "fourth") is None
        assert list(await asyncio.gather(*taken)) == [[number**2] for number in range(10)]
        assert own.refusal(6, "greedy") is None, "what has run is held no more"

    finish(main())


def test_large_items_count_to_their_caller_until_they_have_run(run: Recorder) -> None:
    """Piece by piece the share is free again, also where the item fails or is cancelled."""

    async def main() -> None:
        own = batcher(run, max_waiting=99, pieces=PIECES)
        large = list(range(20))
        answers = [own.submit(large, 20, caller="a"), own.submit([-1] * 20, 20, caller="a")]
        assert own.refusal(20, "a") is not None and own.refusal(20, "b") is None
        answers[0].cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        assert (own._rest.total, own._rest.held("a"), own._queued.total) == (0, 0, 0)

    finish(main())


def test_where_nothing_waits_nothing_is_refused(run: Recorder) -> None:
    """A request beyond the limit of the queue is answered when it is alone."""
    assert submit_all([[1, 2, 3]], run, max_waiting=1) == [[1, 4, 9]]


def test_a_turn_that_is_overdue_is_taken_before_anything_is_refused(clock: Clock, run: Recorder) -> None:
    """An event loop that only ever reads what comes does not keep the engine from its work."""

    async def main() -> None:
        own = batcher(run, max_waiting=8)
        requests = [own.submit([number]) for number in range(8)]
        clock.now += 0.049
        with pytest.raises(OverloadedError):
            own.submit([99])
        clock.now += 0.002
        requests.append(own.submit([8]))
        assert [request.done() for request in requests] == [True] * 4 + [False] * 5
        assert run.batches == [[[0], [1], [2], [3]]]
        assert await asyncio.gather(*requests) == [[number**2] for number in range(9)]
        assert [len(batch) for batch in run.batches] == [4, 4, 1]

    on(clock, main())


def test_a_refusal_is_told_again_until_something_is_taken(run: Recorder) -> None:
    """Of the same size and caller it is the same one; what is raised is one of its own, or it would grow with each."""

    async def main() -> None:
        own = batcher(run, max_waiting=4)
        requests = [own.submit([number]) for number in range(4)]
        told = own.refusal(1, "anybody")
        assert told is not None and own.refusal(1, "anybody") is told and own.refusal(2, "anybody") is not told
        raised = []
        for _ in range(2):
            with pytest.raises(OverloadedError) as caught:
                own.submit([9], caller="anybody")
            raised.append(caught.value)
        assert len({id(error) for error in (told, *raised)}) == 3 and {str(told)} == set(map(str, raised))
        await asyncio.gather(*requests)
        assert own.refusal(1, "anybody") is None
        assert await own.submit([9], caller="anybody") == [81]

    finish(main())


def test_a_refusal_ends_with_the_large_item_that_it_was_for(clock: Clock, run: Recorder) -> None:
    """Where that fails, and so nothing is taken any more."""

    async def main() -> None:
        own = batcher(run, max_waiting=30, pieces=PIECES, executor=(engine := Engine(clock)))
        failing = own.submit([-1] * 26, 26)
        await asyncio.sleep(0)
        assert own.refusal(10) is not None
        engine.finish()
        with pytest.raises(EngineError):
            await failing
        assert own.refusal(10) is None

    on(clock, main())


def test_a_refusal_ends_with_those_who_were_too_late(clock: Clock, run: Recorder) -> None:
    """Also one that was told while they were passed over, by a receiver that asks again at once."""
    told: list[OverloadedError | None] = []

    async def main() -> None:
        own = batcher(run, max_waiting=4)

        class Again(Kept):
            def set_exception(self, exception: Exception, /) -> None:
                super().set_exception(exception)
                told.append(own.refusal(3))

        for _ in range(4):
            own.put([1], 1, Again(), deadline=clock.now + 1)
        clock.now += 2
        await asyncio.sleep(0)
        assert len(told) == 4 and told[0] is not None and own.refusal(3) is None

    on(clock, main())


def test_work_that_takes_too_long_takes_nothing_more(clock: Clock, run: Recorder) -> None:
    """While what waits takes longer than is allowed, by the last runs, others are refused; taken when it is done."""
    run.seconds = 0.01  # an item

    async def main() -> None:
        engine = Engine(clock)
        own = batcher(run, max_wait=0.25, executor=engine)
        first = own.submit([0])
        await asyncio.sleep(0)
        engine.finish()
        await first  # so that the pace is known
        requests = [own.submit([number]) for number in range(1, 3)]
        await asyncio.sleep(0)  # these run, and all others wait
        requests += [own.submit([number]) for number in range(3, 29)]  # the last one finds 25 items, a quarter second
        for _ in range(3):
            with pytest.raises(OverloadedError, match=r"^what waits already takes more than 250 ms$"):
                own.submit([99])
        while not all(request.done() for request in requests):
            engine.finish()
            await asyncio.sleep(0.01)
        assert [await request for request in requests] == [[number**2] for number in range(1, 29)]
        later = own.submit([6])
        await asyncio.sleep(0)
        engine.finish()
        assert await later == [36]

    on(clock, main())


def test_a_short_queue_is_never_refused(clock: Clock, run: Recorder) -> None:
    """Up to two batches may wait however slow the last runs were: they are soon done with."""
    run.seconds = 5.0

    async def main() -> None:
        engine = Engine(clock)
        own = batcher(run, max_wait=0.125, executor=engine)
        first = own.submit([0])
        await asyncio.sleep(0)
        engine.finish()
        await first
        requests = [own.submit([1])]
        await asyncio.sleep(0)
        requests += [own.submit([number]) for number in range(2, 11)]  # the last one finds 8, and makes it 9
        with pytest.raises(OverloadedError):
            own.submit([99])
        while not all(request.done() for request in requests):
            engine.finish()
            await asyncio.sleep(0.01)
        assert [await request for request in requests] == [[number**2] for number in range(1, 11)]

    on(clock, main())


def test_one_run_that_stood_still_refuses_nobody(clock: Clock, run: Recorder) -> None:
    """A run during which the machine did something else for a minute changes the pace by a sixteenth at most."""
    run.seconds = 0.001

    async def main() -> None:
        engine = Engine(clock)
        own = batcher(run, max_wait=0.1, executor=engine)
        for seconds in (0.001, 60.0):
            run.seconds = seconds
            alone = own.submit([0])
            await asyncio.sleep(0)
            engine.finish()
            await alone
        run.seconds = 0.001
        requests = [own.submit([number]) for number in range(60)]
        await asyncio.sleep(0)
        while not all(request.done() for request in requests):
            engine.finish()
            await asyncio.sleep(0.01)
        assert [await request for request in requests] == [[number**2] for number in range(60)]

    on(clock, main())


def test_a_long_queue_is_judged_by_full_batches(clock: Clock, run: Recorder) -> None:
    """An item alone takes as long as four together; a queue, which runs in full batches, is not refused for that."""
    run.seconds = 0.04  # a batch

    async def main() -> None:
        engine = Engine(clock)
        own = batcher(run, max_wait=0.25, executor=engine)

        async def answer(count: int) -> None:
            requests = [own.submit([number]) for number in range(count)]
            await asyncio.sleep(0)
            while not all(request.done() for request in requests):
                engine.finish()
                await asyncio.sleep(0.01)

        await answer(1)
        await answer(4)  # the first that says what an item takes of a full batch
        for _ in range(50):
            await answer(1)
        await answer(26)  # of which the last finds a quarter second's worth
        with pytest.raises(OverloadedError):
            await answer(27)

    on(clock, main())


def test_a_passed_deadline_is_told_and_never_run(clock: Clock, run: Recorder) -> None:
    """Whose turn comes too late gets a DeadlineError and costs the engine nothing; who has time is answered."""
    run.seconds = 1.0

    async def main() -> None:
        own = batcher(run)
        long, late, just, timely = (
            own.submit([1, 2, 3, 4], 4),
            own.submit([5], deadline=clock.now + 0.5),
            own.submit([6], deadline=clock.now + 1.0),
            own.submit([7], deadline=clock.now + 1.5),
        )
        assert await long == [1, 4, 9, 16]
        for request in (late, just):
            with pytest.raises(DeadlineError, match=r"^the time given for the request passed before its turn came$"):
                await request
        assert await timely == [49]  # its turn came in time, however long its run takes
        with pytest.raises(DeadlineError):
            await own.submit([8], deadline=clock.now)

    on(clock, main())
    assert run.batches == [[[1, 2, 3, 4]], [[7]]]


def test_a_caller_who_has_gone_is_skipped(clock: Clock, run: Recorder) -> None:
    """Only who has waited a while is asked for; who has gone then gets a GoneError, and nothing is computed."""
    run.seconds = 1.0
    asked: list[int] = []

    def gone(number: int, answer: bool) -> Callable[[], bool]:
        def ask() -> bool:
            asked.append(number)
            return answer

        return ask

    async def main() -> None:
        own = batcher(run)
        prompt, waits, went = (
            own.submit([1, 2, 3, 4], 4, gone=gone(1, True)),
            own.submit([5], gone=gone(5, False)),
            own.submit([6], gone=gone(6, True)),
        )
        assert await prompt == [1, 4, 9, 16]
        assert await waits == [25]
        with pytest.raises(GoneError, match=r"^the caller has gone$"):
            await went

    on(clock, main())
    assert asked == [5, 6]
    assert run.batches == [[[1, 2, 3, 4]], [[5]]]


def test_a_queue_of_those_who_are_too_late_is_emptied(clock: Clock, run: Recorder) -> None:
    """Where none of many may run any more, the engine is not called at all, and the next request is answered."""
    run.seconds = 1.0

    async def main() -> None:
        own = batcher(run)
        first = own.submit([0, 0, 0, 0], 4)
        late = [own.submit([number, number, number], 3, deadline=clock.now + 0.5) for number in range(1, 9)]
        assert await first == [0, 0, 0, 0]
        told = await asyncio.gather(*late, return_exceptions=True)
        assert {type(answer) for answer in told} == {DeadlineError}
        assert await own.submit([9]) == [81]

    on(clock, main())
    assert run.batches == [[[0, 0, 0, 0]], [[9]]]


def test_the_time_in_the_queue_is_told(clock: Clock, run: Recorder) -> None:
    """For each batch: how many requests it has, and how long they waited together; who is skipped counts not."""
    run.seconds = 1.0
    told: list[tuple[int, float]] = []

    async def main() -> None:
        own = batcher(run, waited=lambda seconds: told.append((len(seconds), sum(seconds))))
        requests = [own.submit([1, 1, 1], 3), own.submit([2, 2], 2), own.submit([3], deadline=clock.now)]
        requests.append(own.submit([4]))
        await asyncio.gather(*requests, return_exceptions=True)

    on(clock, main())
    assert told == [(1, 0.0), (2, 2.0)]


def test_a_batch_that_is_not_full_waits_for_more(clock: Clock, run: Recorder) -> None:
    """With a delay, what comes within it shares the batch, which runs when the first has waited for so long."""

    async def main() -> None:
        own = batcher(run, max_delay=0.02)
        started = clock.now
        requests = [own.submit([1])]
        await asyncio.sleep(0.015)
        requests.append(own.submit([2]))
        assert run.batches == []
        await asyncio.gather(*requests)
        assert clock.now == pytest.approx(started + 0.02)
        await own.submit([3])
        assert clock.now == pytest.approx(started + 0.04)

    on(clock, main())
    assert run.batches == [[[1], [2]], [[3]]]


@pytest.mark.parametrize("last", [[3, 4], [3, 4, 5]])
def test_a_full_batch_does_not_wait(clock: Clock, run: Recorder, last: list[int]) -> None:
    """As soon as a batch is full it runs, whether it was filled at once or while it waited; the rest waits."""

    async def main() -> None:
        own = batcher(run, max_delay=0.02)
        started = clock.now
        first = own.submit([1, 2], 2)
        await asyncio.sleep(0.01)
        second = own.submit(last, len(last))
        await first
        assert clock.now == pytest.approx(started + 0.01)
        await second
        assert clock.now == pytest.approx(started + (0.01 if len(last) == 2 else 0.03))
        await own.submit([6, 7, 8, 9], 4)
        assert clock.now == pytest.approx(started + (0.01 if len(last) == 2 else 0.03))

    on(clock, main())


def test_who_has_waited_for_the_engine_does_not_wait_for_more(clock: Clock, run: Recorder) -> None:
    """The delay is counted from a request's arrival: what passed of it while another batch ran is not waited again."""

    async def main() -> None:
        engine = Engine(clock, seconds=0.015)
        own = batcher(run, max_delay=0.02, executor=engine)
        started = clock.now
        own.submit([1, 2, 3, 4], 4)
        await asyncio.sleep(0)
        second = own.submit([5])
        await asyncio.sleep(0.016)
        assert engine.running == 0
        third = own.submit([6])
        await second
        await third
        assert clock.now == pytest.approx(started + 0.02 + 0.015)

    on(clock, main())
    assert run.batches == [[[1, 2, 3, 4]], [[5], [6]]]


def test_the_next_batch_gathers_while_one_runs(clock: Clock, run: Recorder) -> None:
    """With an executor the event loop goes on, one batch runs at a time, and what came meanwhile is the next one."""

    async def main() -> None:
        engine = Engine(clock)
        own = batcher(run, executor=engine)
        requests = [own.submit([0])]
        await asyncio.sleep(0)
        assert engine.running == 1
        for number in range(1, 8):
            requests.append(own.submit([number]))
            await asyncio.sleep(0.1)
        assert engine.running == engine.most == 1 and not any(request.done() for request in requests)
        for done in (1, 5, 8):
            engine.finish()
            await asyncio.sleep(0.1)
            assert [request.done() for request in requests] == [True] * done + [False] * (8 - done)
        assert [await request for request in requests] == [[number**2] for number in range(8)]
        assert engine.most == 1 and engine.running == 0

    on(clock, main())
    assert run.batches == [[[0]], [[1], [2], [3], [4]], [[5], [6], [7]]]


def test_cancelled_while_it_runs_takes_nobody_with_it(clock: Clock, run: Recorder) -> None:
    """An answer that nobody waits for any more is dropped; its neighbours get theirs, in order."""

    async def main() -> None:
        engine = Engine(clock)
        own = batcher(run, executor=engine)
        requests = [own.submit([number]) for number in range(1, 6)]
        await asyncio.sleep(0)
        requests[1].cancel()
        requests[4].cancel()
        engine.finish()
        await asyncio.sleep(0.1)
        assert [request.cancelled() for request in requests] == [False, True, False, False, True]
        assert [requests[place].result() for place in (0, 2, 3)] == [[1], [9], [16]]
        assert engine.running == 0
        later = own.submit([6])
        await asyncio.sleep(0)
        engine.finish()
        assert await later == [36]

    on(clock, main())
    assert run.batches == [[[1], [2], [3], [4]], [[6]]]


def test_a_failure_in_the_executor_takes_no_neighbour_with_it(run: Recorder) -> None:
    """In a real thread as on the event loop: the poisoned item fails alone, and later ones are answered."""

    async def main() -> list[Squares]:
        with ThreadPoolExecutor(1) as executor:
            own = batcher(run, executor=executor)
            answers: list[Squares] = await asyncio.gather(
                *(own.submit([number]) for number in (1, -2, 3, 4, 5)), return_exceptions=True
            )
            return [*answers, await own.submit([6])]

    one, two, *others = finish(main())
    assert (one, others) == ([1], [[9], [16], [25], [36]])
    assert isinstance(two, EngineError)


def test_a_full_batch_does_not_wait_on_the_service_s_own_loop(run: Recorder) -> None:
    """The timers of uvloop are of a class of their own, and a batch that fills meanwhile runs at once there too."""

    async def main() -> None:
        own = batcher(run, max_delay=3600)
        first = own.submit([1, 2], 2)
        await asyncio.sleep(0.01)
        second = own.submit([3, 4], 2)
        await asyncio.wait_for(asyncio.gather(first, second), 30)
        assert (first.result(), second.result()) == ([1, 4], [9, 16])

    uvloop.run(main())


PIECES: Pieces[list[int], list[int]] = Pieces(
    lambda item, start, stop: item[start:stop], lambda _, answers: list(itertools.chain.from_iterable(answers))
)
"""Of lists of numbers."""


def test_what_is_large_runs_in_pieces_beside_others(run: Recorder) -> None:
    """Half of each batch is the large one's while others wait, and all of it when none do."""
    large, small = list(range(20)), [[number] for number in range(100, 105)]
    answers = submit_all([large, *small], run, pieces=PIECES)
    assert answers == [[number**2 for number in item] for item in (large, *small)]
    assert [[len(item) for item in batch] for batch in run.batches] == [[1, 1, 2], [1, 1, 2], [1, 3], *3 * [[4]], [1]]


def test_large_ones_take_turns(run: Recorder) -> None:
    """Two that came at once end at once, whichever was first."""
    first, second = list(range(12)), list(range(100, 112))
    assert submit_all([first, second], run, pieces=PIECES) == [
        [number**2 for number in item] for item in (first, second)
    ]
    assert [batch[0][0] for batch in run.batches] == [0, 100, 4, 104, 8, 108]


@pytest.mark.parametrize("max_batch", [1, 2, 4])
def test_neither_large_nor_small_ones_wait_for_all_of_the_others(run: Recorder, max_batch: int) -> None:
    """However many of the one kind wait, of any two batches one has a part of the other."""
    requests = [[number] * max_batch for number in range(1, 31)] + [list(range(100, 140)) for _ in range(2)]
    submit_all(requests, run, max_batch=max_batch, pieces=PIECES)
    kinds = [{number >= 100 for item in batch for number in item} for batch in run.batches]
    ends = [max(place for place, kind in enumerate(kinds) if large in kind) for large in (False, True)]
    assert min(ends) > 3
    for one, other in itertools.pairwise(kinds[: min(ends) + 1]):  # while both were there
        assert one | other == {False, True}


def test_a_failure_in_a_piece_ends_its_request_alone(run: Recorder) -> None:
    """The rest of it is not run, its place is free, and its neighbour is answered."""
    answers = submit_all([[*range(10), -1, *range(9)], [5]], run, pieces=PIECES, max_waiting=21)
    assert isinstance(answers[0], EngineError) and answers[1] == [25]
    assert sum(len(item) for batch in run.batches for item in batch if len(batch) == 1) < 20


def test_a_large_one_is_not_begun_or_gone_on_with_in_vain(clock: Clock, run: Recorder) -> None:
    """After a passed deadline, a leave or a cancellation no further piece is run, and all places are free again."""

    async def main() -> None:
        own = batcher(run, executor=Engine(clock, 0.1), pieces=PIECES, max_waiting=54)
        leaves = False
        late = own.submit(list(range(18)), 18, deadline=clock.now + 0.15)
        leaver = own.submit(list(range(18)), 18, gone=lambda: leaves)
        cancelled = own.submit(list(range(18)), 18)
        with pytest.raises(OverloadedError):
            own.submit([1])
        await asyncio.sleep(0.25)  # each has had a piece, or has it now
        leaves = True
        cancelled.cancel()
        with pytest.raises(DeadlineError):
            await late
        with pytest.raises(GoneError):
            await leaver
        assert await own.submit(list(range(54)), 54) == [number**2 for number in range(54)]

    on(clock, main())
    assert [len(batch[0]) for batch in run.batches] == [4] * 3 + [4] * 13 + [2]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(st.integers(-1, 300), min_size=1, max_size=30), min_size=1, max_size=30),
    st.integers(1, 8),
)
def test_any_load_in_pieces_gets_its_own_answers(requests: list[list[int]], max_batch: int) -> None:
    """Each gets its squares or its own failure; no batch is beyond its limit, and no number of it runs in vain."""
    run = Recorder()
    answers = submit_all(requests, run, max_batch=max_batch, pieces=PIECES)
    for request, answer in zip(requests, answers, strict=True):
        if min(request) < 0:
            assert isinstance(answer, EngineError)
        else:
            assert answer == [number**2 for number in request]
    for batch in run.batches:
        assert sum(map(len, batch)) <= max_batch
    sound = [number for request in requests if min(request) >= 0 for number in request]
    ran = [number for batch in run.batches for item in batch for number in item]
    assert len(ran) >= len(sound)
    if len(sound) == sum(map(len, requests)):
        assert sorted(ran) == sorted(sound)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.lists(st.integers(-3, 300), min_size=1, max_size=9), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(10, 200),
)
def test_any_load_gets_its_own_answers(requests: list[list[int]], max_batch: int, max_waiting: int) -> None:
    """Each of many requests gets its squares, its own failure, or a refusal; batches are within limits and in order."""
    run = Recorder()
    answers = submit_all(requests, run, max_batch=max_batch, max_waiting=max_waiting)
    waiting = 0
    batches: list[list[list[int]]] = []  # as they are to be: an independent, sequential reading of the rules
    for request, answer in zip(requests, answers, strict=True):
        if waiting and waiting + len(request) > max_waiting:
            assert isinstance(answer, OverloadedError)
            continue
        waiting += len(request)
        if not batches or sum(map(len, batches[-1])) + len(request) > max_batch:
            batches.append([])
        batches[-1].append(request)
        if min(request) < 0:
            assert isinstance(answer, EngineError)
        else:
            assert answer == [item**2 for item in request]
    expected = []
    for batch in batches:
        expected.append(batch)
        if min(map(min, batch)) < 0 and len(batch) > 1:
            expected += [[item] for item in batch]
    assert run.batches == expected


@dataclass
class Asked:
    """A request of the test below, and what is known of it."""

    number: int
    item: list[int]
    deadline: float | None
    leaves: bool
    future: Any = None
    cancelled: bool = False

    def check(self, ran: bool) -> None:
        """It has exactly one end, which is the one that it is due."""
        assert self.future.done()
        if self.cancelled:
            assert self.future.cancelled()
            return
        error = self.future.exception()
        if isinstance(error, DeadlineError):
            assert self.deadline is not None and not ran
        elif isinstance(error, GoneError):
            assert self.leaves and not ran
        elif self.item[0] < 0:
            assert isinstance(error, EngineError) and ran
        else:
            assert self.future.result() == [number**2 for number in self.item] and ran


LATER = 10**6
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.integers(1, 5),  # size
            st.sampled_from([True, True, False]),  # whether it is sound
            st.none() | st.floats(0, 0.3),  # its time
            st.sampled_from([False, False, True]),  # whether it leaves
        ),
        st.tuples(st.just("pass"), st.floats(0, 0.1)),
        st.tuples(st.just("cancel"), st.integers(0, 60)),
    ),
    max_size=60,
)


class Kept:
    """A receiver that is no future: it keeps its one end, and `waited` passes once it has it."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.answer: Any = None
        self.error: Exception | None = None
        self.is_cancelled = False

    def cancel(self) -> bool:
        """Waits no more."""
        self.is_cancelled = True
        self.ended.set()
        return True

    def cancelled(self) -> bool:
        """Whether nothing was waited for any more."""
        return self.is_cancelled

    def done(self) -> bool:
        """Whether it has its end."""
        return self.ended.is_set()

    def set_result(self, result: Any, /) -> None:
        """Takes an answer, as its one end."""
        assert not self.done()
        self.answer = result
        self.ended.set()

    def set_exception(self, exception: Exception, /) -> None:
        """Takes what went wrong, as its one end."""
        assert not self.done()
        self.error = exception
        self.ended.set()

    def result(self) -> Any:
        """The answer."""
        assert self.done() and self.error is None and not self.is_cancelled
        return self.answer

    def exception(self) -> Exception | None:
        """What went wrong."""
        return self.error

    async def wait(self) -> None:
        """Passes once there is an end."""
        await self.ended.wait()


def put(own: Batcher[Any, Any], item: list[int], size: int = 1, **named: Any) -> Kept:
    """A receiver that is no future, which is to get the answer to an item."""
    receiver = Kept()
    own.put(item, size, receiver, **named)
    return receiver


async def walk(own: Batcher[Any, Any], steps: list[Any], clock: Clock, *, futures: bool) -> list[Asked]:
    """Takes the steps, and gives what was not refused when all of it has ended; each by a future, or put by `Kept`."""
    asked: list[Asked] = []
    numbers = itertools.count(1)
    for kind, *rest in steps:
        if kind == "pass":
            await asyncio.sleep(rest[0])
        elif kind == "cancel":
            if asked and not (request := asked[rest[0] % len(asked)]).future.done():
                request.future.cancel()
                request.cancelled = True
        else:
            size, sound, time, leaves = rest
            number = next(numbers)
            item = [number if sound else -number] * size
            request = Asked(number, item, None if time is None else clock.now + time, leaves)
            try:
                submit = own.submit if futures else partial(put, own)
                request.future = submit(item, size, deadline=request.deadline, gone=partial(bool, leaves))
            except OverloadedError:
                continue
            asked.append(request)
    waiting = (request.future if futures else request.future.wait() for request in asked)
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(1000)  # what was cancelled has its turn too
    return asked


@settings(deadline=None, max_examples=250)
@given(
    steps=steps,
    max_batch=st.integers(1, 6),
    max_waiting=st.integers(1, 40),
    max_wait=st.sampled_from([0.01, 0.1, 10.0]),
    max_delay=st.sampled_from([0.0, 0.0, 0.02]),
    seconds=st.none() | st.floats(0.001, 0.2),
    futures=st.booleans(),
)
def test_nothing_is_lost_or_answered_twice(
    steps: list[Any],
    max_batch: int,
    max_waiting: int,
    max_wait: float,
    max_delay: float,
    seconds: float | None,
    futures: bool,
) -> None:
    """However requests come, wait, are cancelled, fail, pass their time and leave, each has exactly the end it is due.

    Whether they wait by a future or by a receiver of another kind.

    With an executor of any speed and without one: batches keep the order and the limit, what failed alone harmed
    nobody, what was refused or skipped never ran, what ran was never refused, and afterwards all places are free.
    """
    run, clock = Recorder(), Clock()
    engine = None if seconds is None else Engine(clock, seconds)
    limits = {"max_batch": max_batch, "max_waiting": max_waiting, "max_wait": max_wait, "max_delay": max_delay}

    async def main() -> list[Asked]:
        own = batcher(run, executor=engine, **limits)
        asked = await walk(own, steps, clock, futures=futures)
        sizes = [max_waiting // 2, max_waiting - max_waiting // 2] if max_waiting > 1 else [1]
        later = [own.submit([LATER] * size, size) for size in sizes]
        assert [len(answer) for answer in await asyncio.gather(*later)] == sizes
        return asked

    asked = on(clock, main())
    assert engine is None or engine.most <= 1
    runs: dict[int, list[int]] = {}  # the places of the batches that each number ran in
    for place, batch in enumerate(run.batches):
        assert len(batch) == 1 or sum(map(len, batch)) <= max_batch
        for item in batch:
            runs.setdefault(abs(item[0]), []).append(place)
    assert list(runs) == sorted(runs), "the order was not kept"
    assert set(runs) <= {request.number for request in asked} | {LATER}, "what was refused has run"
    for request in asked:
        ran = runs.get(request.number, [])
        request.check(bool(ran))
        if ran:
            first = run.batches[ran[0]]
            poisoned = len(first) > 1 and min(map(min, first)) < 0
            assert len(ran) == (2 if poisoned else 1)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.lists(st.integers(-3, 300), min_size=1, max_size=9), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(10, 200),
)
def test_a_receiver_gets_what_a_future_gets(requests: list[list[int]], max_batch: int, max_waiting: int) -> None:
    """What is put with a receiver has the answers, errors, refusals and batches of what is submitted."""
    submitted, run = Recorder(), Recorder()
    expected = submit_all(requests, submitted, max_batch=max_batch, max_waiting=max_waiting)

    async def main() -> list[Squares]:
        own = batcher(run, max_batch=max_batch, max_waiting=max_waiting)
        found: list[Squares | Kept] = []
        for request in requests:
            try:
                found.append(put(own, request, len(request)))
            except OverloadedError as error:
                found.append(error)
        answers: list[Squares] = []
        for one in found:
            if isinstance(one, Kept):
                await one.wait()
                answers.append(one.error or one.result())
            else:
                answers.append(one)
        return answers

    answers = finish(main())
    assert [(type(answer), str(answer)) for answer in answers] == [(type(one), str(one)) for one in expected]
    assert run.batches == submitted.batches


def test_a_receiver_that_waits_no_more_is_skipped(run: Recorder) -> None:
    """One that is done before its turn is not run, one that is done while it runs is told nothing; others are."""

    async def main() -> None:
        own = batcher(run)
        gone, stays = put(own, [1]), put(own, [2])
        gone.cancel()
        await stays.wait()
        assert (gone.answer, stays.result()) == (None, [4])
        leaving: list[Kept] = []
        waiting = batcher(lambda items: [[leaving[0].cancel()], *items[1:]])
        leaving.append(put(waiting, [3]))
        other = put(waiting, [4])
        await other.wait()
        assert (leaving[0].answer, leaving[0].error, other.result()) == (None, None, [4])

    finish(main())
    assert run.batches == [[[2]]]
