"""Room for connections beyond the limit: the one that has rested for longest goes, and finding it is not dear."""

import gc
from collections.abc import Iterator

from service.crowd import Crowd


class Fake:
    """A connection that rests since some time, unless it is told otherwise."""

    def __init__(self, rested_since: float, *, rests: bool = True, unread: bool = False) -> None:
        self.rested_since = rested_since
        self.rests = rests
        self.unread = unread

    def is_resting(self) -> bool:
        """Whether it rests."""
        return self.rests

    def has_unread(self) -> bool:
        """Whether something has come."""
        return self.unread

    def cut(self) -> None:
        """Ends it."""
        self.rests = False


class Asked:
    """Connections, and how often all of them were asked."""

    def __init__(self, connections: list[Fake]) -> None:
        self.connections = connections
        self.times = 0

    def __iter__(self) -> Iterator[Fake]:
        self.times += 1
        return iter(self.connections)

    def ended(self) -> list[float]:
        """Since when those had rested that were closed."""
        return sorted(one.rested_since for one in self.connections if not one.rests)


def test_the_longest_rested_go_first_and_all_are_asked_once() -> None:
    """A thousand that come close a thousand, in the order in which they began to rest."""
    crowd, asked = Crowd(), Asked([Fake(number * 7 % 4001) for number in range(4001)])
    for count in range(1, 1001):
        assert crowd.make_room(asked, 0.0)
        assert not any(one.rests for one in asked.connections if one.rested_since < count)
    assert asked.ended() == list(range(1000)) and asked.times == 1


def test_who_has_been_asked_since_is_spared() -> None:
    """One that answered something meanwhile, has something to read, or has gone is not closed in its turn."""
    busy, awaited, served, gone, idle, late = connections = [Fake(number) for number in range(6)]
    crowd, asked = Crowd(), Asked(connections)
    assert crowd.make_room(asked, 0.0) and not busy.rests
    awaited.unread = True
    served.rested_since = 9.0
    asked.connections.remove(gone)
    del connections, gone
    gc.collect()
    assert crowd.make_room(asked, 0.0)
    assert not idle.rests and awaited.rests and served.rests and late.rests and asked.times == 1
    for _ in range(2):
        assert crowd.make_room(asked, 0.0)
    assert [late.rests, served.rests, awaited.rests] == [False, False, True] and asked.times == 2


def test_where_none_rests_they_are_not_asked_by_everybody() -> None:
    """For a fiftieth of a second nobody else asks, and then somebody does."""
    crowd, asked = Crowd(), Asked([Fake(0.0, rests=False), Fake(0.0, unread=True)])
    assert not any(crowd.make_room(asked, now / 1000) for now in range(20)) and asked.times == 1
    asked.connections.append(Fake(1.0))
    assert not crowd.make_room(asked, 0.0199) and crowd.make_room(asked, 0.02) and asked.times == 2
