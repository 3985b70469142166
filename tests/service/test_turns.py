"""Turns: so many at once, each caller in turn, and no place is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from service.turns import Turns
from tests.service.asgi import finish
from tests.service.clock import Clock


@asynccontextmanager
async def turn(turns: Turns, caller: str | None) -> AsyncIterator[None]:
    """Has a place meanwhile."""
    await turns.take(caller)
    try:
        yield
    finally:
        turns.give()


async def served(turns: Turns, callers: Sequence[str | None]) -> list[str | None]:
    """The order in which callers have their turns who all ask at once."""
    order: list[str | None] = []

    async def ask(caller: str | None) -> None:
        async with turn(turns, caller):
            order.append(caller)
            await asyncio.sleep(0)

    await asyncio.gather(*map(ask, callers))
    return order


def test_a_hundred_of_one_keep_another_waiting_for_one() -> None:
    """Whoever comes last is served after one of the other's, and a third after one of each."""
    order = finish(served(Turns(1), ["greedy"] * 100 + ["second", "third", "second"]))
    assert order[:7] == ["greedy", "greedy", "second", "third", "greedy", "second", "greedy"]
    assert order.count("greedy") == 100


def test_who_has_waited_for_long_is_served_before_all_who_came_later() -> None:
    """A caller of whom several wait, while a new one comes with each turn: each of his waits for a second at most."""
    clock = Clock()
    turns, waited = Turns(1, patience=0.5), dict[str, list[float]]()

    async def ask(caller: str) -> None:
        began = clock.time()
        async with turn(turns, caller):
            waited.setdefault(caller, []).append(clock.time() - began)
            await asyncio.sleep(0.1)

    async def main() -> None:
        asking = [asyncio.ensure_future(ask("several")) for _ in range(5)]
        for number in range(100):
            asking.append(asyncio.ensure_future(ask(f"new {number}")))
            await asyncio.sleep(0.1)
        await asyncio.gather(*asking)

    clock.finish(main(), "service.background")
    assert len(waited["several"]) == 5 and max(waited["several"]) < 1
    assert max(map(max, waited.values())) < 1


def test_whose_own_work_took_long_goes_before_nobody() -> None:
    """Ten of one have waited for longer than the patience, for each other; once he is renewed, another is next."""
    clock = Clock()
    turns, order = Turns(1, patience=0.5), list[str]()

    async def ask(caller: str) -> None:
        async with turn(turns, caller):
            order.append(caller)
            await asyncio.sleep(1)
            turns.renew(caller)
            turns.renew("nobody")

    async def main() -> None:
        asking = [asyncio.ensure_future(ask("slow")) for _ in range(10)]
        await asyncio.sleep(0.1)
        await asyncio.gather(*asking, *(ask(name) for name in ("second", "third", "second")))

    clock.finish(main(), "service.background")
    assert order[:6] == ["slow", "second", "third", "slow", "second", "slow"] and order.count("slow") == 10


def test_those_of_one_caller_are_served_in_order() -> None:
    """First come, first served."""

    async def main() -> list[int]:
        turns, order = Turns(2), list[int]()

        async def ask(number: int) -> None:
            async with turn(turns, "a"):
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*map(ask, range(20)))
        return order

    assert finish(main()) == list(range(20))


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.booleans()), max_size=30))
def test_no_place_is_lost(places: int, asked: list[tuple[str | None, bool]]) -> None:
    """However many are cancelled while they wait or work, no more than the places are taken, and later all are free."""

    async def main() -> None:
        turns = Turns(places)
        inside = 0

        async def ask(caller: str | None) -> None:
            nonlocal inside
            async with turn(turns, caller):
                inside += 1
                assert inside <= places
                try:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                finally:
                    inside -= 1

        tasks = []
        for caller, cancelled in asked:
            tasks.append((asyncio.ensure_future(ask(caller)), cancelled))
            await asyncio.sleep(0)
        for task, cancelled in tasks:
            if cancelled:
                task.cancel()
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
        assert all(task.cancelled() or task.exception() is None for task, _ in tasks)
        assert inside == 0 and turns._free == places and not turns._waiting

    finish(main())


def test_a_place_that_comes_as_the_wait_is_cancelled_goes_on() -> None:
    """It is given to the next one rather than lost."""

    async def main() -> list[str]:
        turns, order = Turns(1), list[str]()

        async def ask(name: str) -> None:
            async with turn(turns, name):
                order.append(name)

        async with turn(turns, "first"):
            waits, after = asyncio.ensure_future(ask("waits")), asyncio.ensure_future(ask("after"))
            await asyncio.sleep(0)
        waits.cancel()  # its place is there already
        await asyncio.gather(waits, after, return_exceptions=True)
        return order

    assert finish(main()) == ["after"]
