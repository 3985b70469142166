"""Messages between two ends, of which one may not read for as long as it likes."""

from collections.abc import Iterator
from multiprocessing.connection import wait

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.pipe import Message, Pipe

Ends = tuple[Pipe, Pipe]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends."""
    one, other = Pipe.pair()
    yield one, other
    one.close()
    other.close()


def heard(ends: Ends) -> list[Message]:
    """What the second end hears until nothing comes any more, while the first sends on what it has kept."""
    one, other = ends
    found = []
    while wait([other.fileno()], 0):
        found += other.hear()
        one.send()
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(texts=st.lists(st.text() | st.integers(100_000, 700_000).map("é\n".__mul__), max_size=4))
def test_every_message_comes_whole_and_in_its_turn(ends: Ends, texts: list[str]) -> None:
    """However long it is, whatever is in it, and though nobody reads while it is said."""
    for text in texts:
        ends[0].say({"do": "x", "text": text})
    assert [message["text"] for message in heard(ends)] == texts
    assert not ends[0].unsent


def test_what_supersedes_spares_what_is_begun_and_what_is_of_another_kind(ends: Ends) -> None:
    """Who reads late hears the newest of a kind after what was said before, and never half of one that was begun."""
    one, _ = ends
    long = "x" * 1_000_000
    for number in range(100):
        one.say({"do": "keys", "number": number, "text": long}, supersedes=True)
        if number % 40 == 0:
            one.say({"do": "commit", "number": number})
    assert one.unsent
    found = heard(ends)
    assert [(message["do"], message["number"]) for message in found] == [
        ("keys", 0), ("commit", 0), ("commit", 40), ("commit", 80), ("keys", 99)
    ]  # fmt: skip
    assert {message["text"] for message in found if message["do"] == "keys"} == {long}


def test_an_end_that_is_closed_keeps_nobody(ends: Ends) -> None:
    """What was kept for it is let go, what is said to it too, and the other end hears that it is over."""
    one, other = ends
    one.say({"do": "x", "text": "x" * 1_000_000})
    assert (one.unsent, other.hear(), one.hear()) == (True, [], [])
    other.close()
    one.send()
    assert not one.unsent
    one.say({"do": "x"})
    assert not one.unsent
    with pytest.raises((EOFError, ConnectionResetError)):
        one.hear()
