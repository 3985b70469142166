"""Shares: whoever comes finds room, and all together never take more than there is."""

from hypothesis import given
from hypothesis import strategies as st

from service.shares import Shares

_TAKES = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(1, 40)), max_size=60)


def fill(shares: Shares, caller: str | None, limit: float) -> float:
    """What a caller comes to hold who takes one after the other until nothing more is given."""
    before = shares.total
    while shares.fits(caller, 1, limit):
        shares.take(caller, 1)
    return shares.total - before


def test_one_alone_has_half_two_have_a_third_each() -> None:
    """And whoever comes after them finds as much as each of them has."""
    shares = Shares()
    assert fill(shares, "greedy", 900) == 450
    assert shares.fits("second", 450, 900) and not shares.fits("greedy", 1, 900)
    for caller in ("greedy", "second"):
        shares.give("greedy", 150) if caller == "greedy" else fill(shares, "second", 900)
    assert (shares.held("greedy"), shares.held("second")) == (300, 300)
    assert fill(shares, "third", 900) == 150 and not fill(shares, "greedy", 900)


def test_nobody_in_particular_may_take_all() -> None:
    """Without a caller the limit is the only one."""
    shares = Shares()
    assert fill(shares, None, 100) == 100
    assert not shares.fits("a", 1, 100)


@given(_TAKES, st.integers(1, 200))
def test_never_more_than_the_limit(takes: list[tuple[str | None, int]], limit: int) -> None:
    """What is taken where it fits adds up to the limit at most, and when all is given back nothing is left of it."""
    shares = Shares()
    taken = []
    for caller, amount in takes:
        if shares.fits(caller, amount, limit):
            shares.take(caller, amount)
            taken.append((caller, amount))
    assert shares.total == sum(amount for _, amount in taken) <= limit
    for caller in ("a", "b", "c"):
        assert shares.held(caller) == sum(amount for who, amount in taken if who == caller)
    for caller, amount in reversed(taken):
        shares.give(caller, amount)
    assert shares.total == 0 and not shares._held


def test_cleared_it_is_as_new() -> None:
    """Nothing is held by anybody."""
    shares = Shares()
    shares.take("a", 3)
    shares.clear()
    assert (shares.total, shares.held("a"), shares._held) == (0, 0, {})
