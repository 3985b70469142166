"""Spending: what is read in one turn of the event loop has a limit, and each caller a share of it."""

import asyncio
from collections.abc import Callable

import pytest

from service.spending import Spending
from tests.service.asgi import finish


def read_until_refused(spending: Spending, caller: str | None, seconds: float) -> int:
    """How many requests of a caller are read, at so many seconds each."""
    count = 0
    while count < 1000 and not spending.refuses(caller):
        spending.spent(caller, seconds)
        count += 1
    return count


def in_a_turn(check: Callable[[Spending], None]) -> None:
    """Does something with spending of an eighth of a second in a turn of the event loop, and the same in the next."""

    async def main() -> None:
        spending = Spending(0.125)
        for _ in range(2):
            check(spending)
            await asyncio.sleep(0)

    finish(main())


@pytest.mark.parametrize(("seconds", "count"), [(2**-12, 257), (2**-6, 64), (5.0, 64), (1e-6, 1000)])
def test_one_alone_spends_half(seconds: float, count: int) -> None:
    """Half of the time, but 64 requests however long they take; what takes no time is never refused."""

    def check(spending: Spending) -> None:
        assert read_until_refused(spending, "a", seconds) == count

    in_a_turn(check)


def test_what_was_let_in_waits_before_anything_is_refused() -> None:
    """Half of what leads to refusals is enough for one turn; in the next one there is room again."""

    def check(spending: Spending) -> None:
        count = 0
        while not spending.is_enough("a"):
            spending.spent("a", 2**-10)
            count += 1
        assert count == 33 and not spending.refuses("a") and not spending.refuses("b")

    in_a_turn(check)


def test_another_finds_room() -> None:
    """Behind a greedy caller another one has a share as well."""

    def check(spending: Spending) -> None:
        read_until_refused(spending, "greedy", 0.001)
        assert read_until_refused(spending, "second", 0.001) > 20
        assert not spending.refuses("third")
        assert spending.refuses("greedy")

    in_a_turn(check)


def test_nobody_in_particular_spends_all() -> None:
    """Without a caller there is only the limit."""

    def check(spending: Spending) -> None:
        assert read_until_refused(spending, None, 2**-12) == 513

    in_a_turn(check)


def test_it_says_what_is_too_long() -> None:
    """The limit is told in milliseconds, as the setting has it."""
    assert str(Spending(0.03).refusal) == "what came together takes more than 30 ms to be read"
