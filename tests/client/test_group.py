"""Groups: which inputs are asked for together."""

from collections.abc import Iterator
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from client.group import groups
from client.inputs.item import Content, Item, broken

KINDS = st.sampled_from(["digit", "small picture", "large picture", "broken"])


def _items(kinds: list[str]) -> Iterator[Item]:
    sizes = {"digit": 784, "small picture": 300, "large picture": 500_000}
    for number, kind in enumerate(kinds):
        if kind == "broken":
            yield broken(f"{number}", f"error {number}")
        else:
            content = Content("digit" if kind == "digit" else "picture", b"%d" % number + bytes(sizes[kind]))
            yield Item(f"{number}", partial(_same, content))


def _same(content: Content) -> Content:
    return content


def test_whatever_a_reader_raises_costs_one_row() -> None:
    """An exception that nobody thought of becomes the error of its input, and the others are read."""

    def load() -> Content:
        raise RecursionError("too deep")

    (group,) = groups([Item("bad", load), *_items(["digit"])])
    assert group.errors == {0: "it cannot be read: RecursionError: too deep"} and len(group.data) == 1


@given(st.lists(st.tuples(KINDS, st.integers(1, 300)), max_size=6))
def test_groups_hold_everything_once_and_in_order(runs: list[tuple[str, int]]) -> None:
    """However the inputs are mixed: nothing is lost, kinds are apart, and no group is larger than a request may be."""
    kinds = [kind for kind, count in runs for _ in range(count if kind != "large picture" else count // 30 + 1)]
    found = list(groups(_items(kinds)))
    assert [name for group in found for name in group.names] == [f"{number}" for number in range(len(kinds))]
    for group in found:
        left = iter(group.data)
        for place, name in enumerate(group.names):
            if kinds[int(name)] == "broken":
                assert group.errors[place] == f"error {name}"
            else:
                assert next(left).startswith(name.encode())
                assert group.kind == ("digit" if kinds[int(name)] == "digit" else "picture")
        assert next(left, None) is None and 0 < len(group.names) <= 256
        if group.kind == "picture":
            assert len(group.data) <= 64 and (group.size <= 2**20 or len(group.data) == 1)


def test_groups_are_full() -> None:
    """A thousand digits go in four requests, and 130 small pictures in three."""
    assert [len(group.data) for group in groups(_items(["digit"] * 1000))] == [256, 256, 256, 232]
    assert [len(group.data) for group in groups(_items(["small picture"] * 130))] == [64, 64, 2]
