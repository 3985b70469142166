"""Work in the background: its turn, its limit, its deadline, and that it yields."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections import Counter
from contextvars import copy_context

import pytest

from service.background import Background
from service.caller import CALLER
from service.errors import DeadlineError, GoneError, OverloadedError
from service.load import Load
from tests.service.clock import Clock, Engine, Lasting


def test_one_thing_is_done_at_a_time_in_order() -> None:
    """Each in the same thread, after the one that was asked for before; results and errors come back to who asked."""
    background = Background("test", 8)
    seen: list[tuple[int, int]] = []

    def work(number: int) -> int:
        seen.append((number, threading.get_ident()))
        if number == 2:
            raise KeyError(number)
        return number * number

    async def main() -> list[int | BaseException]:
        asked = [background.run(lambda number=number: work(number)) for number in range(5)]  # type: ignore[misc]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(main())
    background.close()
    assert found[:2] == [0, 1] and isinstance(found[2], KeyError) and found[3:] == [9, 16]
    assert [number for number, _ in seen] == [0, 1, 2, 3, 4]
    assert len({thread for _, thread in seen}) == 1 and seen[0][1] != threading.get_ident()


def test_more_than_may_wait_are_refused_and_a_place_that_is_free_is_taken() -> None:
    """One runs, two wait, the fourth is refused; when those are done, another one is taken."""
    background = Background("test", 2)
    free = threading.Event()

    async def main() -> int:
        asked = [asyncio.ensure_future(background.run(lambda: free.wait(20))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="2 requests wait already"):
            await background.run(lambda: 0)
        free.set()
        assert await asyncio.gather(*asked) == [True] * 3
        return await background.run(lambda: 7)

    assert asyncio.run(main()) == 7
    background.close()


def test_work_that_takes_long_lets_fewer_wait() -> None:
    """After work of a fifth of a second few may wait within a third; after quick work as many as may at all."""
    background = Background("test", 20, patience=0.3)

    async def together(seconds: float, count: int) -> int:
        asked = [background.run(lambda: time.sleep(seconds)) for _ in range(count)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(error is None or isinstance(error, OverloadedError) for error in found)
        return sum(error is None for error in found)

    async def main() -> None:
        assert await together(0, 21) == 21
        for _ in range(3):
            assert await together(0.2, 1) == 1
        assert await together(0, 21) < 5
        for _ in range(40):
            assert await together(0, 1) == 1
        assert await together(0, 21) == 21

    asyncio.run(main())
    background.close()


def test_each_caller_has_a_share_and_a_turn() -> None:
    """One caller may have half of the places; another finds one, and is served after the one that runs."""
    background = Background("test", 8)
    free = threading.Event()
    order: list[str] = []

    async def ask(caller: str) -> None:
        def work() -> None:
            assert free.wait(20)
            order.append(caller)

        CALLER.set(caller)
        await background.run(work)

    async def main() -> None:
        asked = [asyncio.ensure_future(ask("greedy")) for _ in range(9)]
        await asyncio.sleep(0)
        asked.append(asyncio.ensure_future(ask("second")))
        await asyncio.sleep(0)
        free.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(end, OverloadedError) for end in ends] == [False] * 5 + [True] * 4 + [False]

    asyncio.run(main())
    background.close()
    assert order == ["greedy", "greedy", "second", "greedy", "greedy", "greedy"]


@pytest.mark.parametrize("callers", [1, 3, 100])
@pytest.mark.parametrize(("threads", "seconds"), [(1, 0.035), (2, 0.035), (1, 0.2)])
def test_what_is_let_in_is_done_in_time(callers: int, threads: int, seconds: float) -> None:
    """At ten times what the threads do, from however many callers: within the patience, and no thread ever idles.

    On a clock that the test moves. What waits at the end of the load is done within the patience after it. The first
    few seconds are left out, until it is known how long work takes.
    """
    clock, patience, lasting = Clock(), 1.0, 12.0
    background = Background("test", 1024, patience, usual=0.03, threads=threads)
    engine = background._executor = Engine(clock, seconds)  # type: ignore[assignment]
    took: list[float] = []
    done: Counter[str] = Counter()

    async def ask(caller: str) -> None:
        CALLER.set(caller)
        began = clock.time()
        with contextlib.suppress(OverloadedError):
            await background.run(lambda: None)
            done[caller] += 1
            if began > 1003:
                took.append(clock.time() - began)

    async def main() -> float:
        asking = []
        await ask("caller 0")
        pause = seconds / threads / 10
        for number in range(round(lasting / pause)):
            asking.append(asyncio.ensure_future(ask(f"caller {number % callers}")))
            await asyncio.sleep(pause)
        over = clock.time()
        await asyncio.gather(*asking)
        return clock.time() - over

    assert clock.finish(main(), "service.background") <= patience
    assert max(took) <= patience + 1e-6
    assert done.total() * seconds / threads > 0.95 * lasting
    assert engine.most == threads
    assert callers == 100 or min(done.values()) > 0.8 * max(done.values())


def test_who_comes_new_finds_room_beside_a_greedy_one() -> None:
    """One caller may have half of what is done in time; another finds room, and is served after one of his."""
    clock = Clock()
    background = Background("test", 1024, patience=1.2, usual=0.04)
    background._executor = Engine(clock, 0.04)  # type: ignore[assignment]
    order: list[str] = []

    async def ask(caller: str) -> None:
        CALLER.set(caller)
        await background.run(lambda: order.append(caller))

    async def main() -> None:
        greedy = [asyncio.ensure_future(ask("greedy")) for _ in range(100)]
        await asyncio.sleep(0.001)
        await ask("new")
        ends = await asyncio.gather(*greedy, return_exceptions=True)
        assert sum(end is None for end in ends) == 10

    clock.finish(main(), "service.background")
    assert order[:4] == ["greedy", "greedy", "new", "greedy"] and len(order) == 11


CHEAP, DEAR = Load("cheap", 0.005), Load("dear", 0.6)


@pytest.mark.parametrize("told", [DEAR, CHEAP._replace(kind="dear"), CHEAP], ids=["known", "guessed low", "lied about"])
@pytest.mark.parametrize("threads", [1, 2])
def test_who_sends_much_slow_work_after_quick_keeps_nobody_waiting(threads: int, told: Load) -> None:
    """A hundred quick works, and then 600 of 2 s at once and ever more of them: few are let in, and nobody starves.

    Another caller's quick work is let in whenever he asks. It is done after what runs at that moment and one turn of
    each other, even where the slow work is told to be quick.
    """
    clock, quick, slow = Clock(), 0.001, 2.0
    background = Background("test", 1024, patience=1.0, usual=0.03, threads=threads)
    background._executor = Lasting(clock)  # type: ignore[assignment]
    took, begun = [], []

    async def ask(caller: str, load: Load, seconds: float) -> bool:
        def work() -> float:
            begun.append(caller)
            return seconds

        CALLER.set(caller)
        with contextlib.suppress(OverloadedError), background.place([load]):
            await background.turn(work, load)
            return True
        return False

    async def main() -> None:
        for _ in range(100):
            assert await ask("greedy", CHEAP, quick)
        asking = [asyncio.ensure_future(ask("greedy", told, slow)) for _ in range(600)]
        for _ in range(60):
            await asyncio.sleep(0.37)
            asking += [asyncio.ensure_future(ask("greedy", told, slow)) for _ in range(20)]
            began = clock.time()
            assert await ask("other", CHEAP, quick)
            took.append(clock.time() - began)
        assert len(await asyncio.gather(*asking)) == 600 + 60 * 20
        assert background._unfinished.total == background._room.total == background._seconds == 0

    clock.finish(main(), "service.background")
    assert max(took) <= 2 * slow + quick
    assert 100 + 20 < begun.count("greedy") < 100 + 600


def test_work_that_takes_nothing_is_given_back_as_well() -> None:
    """Two of one caller, of which nobody knows yet how long they take, end one after the other."""
    background = Background("test", 20)

    def ask() -> None:
        CALLER.set("a")
        with background.place():
            with background.place():
                pass
            with background.place():
                pass
        assert background._unfinished.total == background._room.total == background._seconds == 0

    copy_context().run(ask)


def test_who_has_waited_for_far_longer_than_he_was_to_is_refused() -> None:
    """Work took three seconds, each of a hundredth as it seemed: the second is done late, and the rest are refused."""
    clock = Clock()
    background = Background("test", 20, patience=1.0, usual=0.01)
    background._executor = Lasting(clock)  # type: ignore[assignment]

    async def main() -> None:
        asked = [background.run(lambda: 3.0) for _ in range(4)]
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert ends[0] == 3 and [str(end) for end in ends[1:]] == ["after 3.0 s others still wait to test"] * 3
        assert clock.time() == 1003.0

    clock.finish(main(), "service.background")


def test_work_beyond_the_patience_is_begun_all_the_same() -> None:
    """Where a single work takes longer than anybody is to wait, a few are let in all the same."""
    background = Background("test", 20, patience=0.01, usual=5.0)
    said = r"^what waits already to test takes 15\.0 s$"
    with background.place(2), background.place(), pytest.raises(OverloadedError, match=said):
        background.check()


def test_many_works_of_one_request_are_let_in_where_half_is_free() -> None:
    """Though they alone take longer than the patience; he has no more then, and who comes next is let in as well."""
    background = Background("test", 200, patience=1.5, usual=0.1)

    def ask() -> None:
        CALLER.set("a")
        with background.place(2):
            with background.place(64):
                assert background.refusal("a") is not None
                assert background.refusal("b") is None
            with background.place(), pytest.raises(OverloadedError), background.place(64):
                pass
        assert background._unfinished.total == 0

    copy_context().run(ask)


def test_a_deadline_that_passed_is_told_and_the_work_not_begun() -> None:
    """While another one runs, the time of the second passes."""
    background = Background("test", 2)
    begun = []

    async def main() -> None:
        first = asyncio.ensure_future(background.run(lambda: time.sleep(0.2)))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineError):
            await background.run(lambda: begun.append(1), deadline=time.monotonic() + 0.05)
        await first

    asyncio.run(main())
    background.close()
    assert begun == []


def test_whoever_has_gone_is_asked_for_in_turn_and_the_work_not_begun() -> None:
    """On the event loop, and not before what is before it is done; whoever is still there is served."""
    background = Background("test", 3)
    free = threading.Event()
    asked: list[tuple[str, bool, int]] = []
    begun = []

    def gone(name: str) -> bool:
        asked.append((name, free.is_set(), threading.get_ident()))
        return name == "gone"

    async def main() -> int:
        first = asyncio.ensure_future(background.run(lambda: free.wait(20)))
        second = asyncio.ensure_future(background.run(lambda: begun.append(1), gone=lambda: gone("gone")))
        third = asyncio.ensure_future(background.run(lambda: 3, gone=lambda: gone("there")))
        await asyncio.sleep(0.05)
        free.set()
        assert await first
        with pytest.raises(GoneError):
            await second
        return await third

    assert asyncio.run(main()) == 3
    background.close()
    assert begun == []
    assert asked == [(name, True, threading.get_ident()) for name in ("gone", "there")]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux alone")
def test_its_thread_yields_to_all_others() -> None:
    """The kernel has it at the lowest priority, and the thread that asks as before."""
    background = Background("test", 2)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    lowest = asyncio.run(background.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    background.close()
    assert lowest == 19
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
