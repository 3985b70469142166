"""The exception tree, and that every error becomes a status and a sentence."""

import re
from collections.abc import Iterator

import pytest

from service import errors
from service.errors import DigitscopeError, GoneError, RequestError
from service.metrics import REASONS, Metrics
from service.refusal import STATUSES, refusal
from service.tally import Tally


def leaves(kind: type[DigitscopeError]) -> Iterator[type[DigitscopeError]]:
    """The classes that are raised: those that have none below them."""
    below = kind.__subclasses__()
    if not below:
        yield kind
    for child in below:
        yield from leaves(child)


def test_every_error_has_its_status() -> None:
    """The table knows every class that is raised, and none besides."""
    assert set(STATUSES) == set(leaves(DigitscopeError))


@pytest.mark.parametrize("kind", list(leaves(DigitscopeError)))
def test_whose_fault_it_is_shows_in_the_status(kind: type[DigitscopeError]) -> None:
    """What the caller can mend, or did by going, is a 4xx, and everything else a 5xx."""
    assert STATUSES[kind] // 100 == (4 if issubclass(kind, (RequestError, GoneError)) else 5)


@pytest.mark.parametrize("kind", list(leaves(DigitscopeError)))
def test_every_error_is_refused_and_counted(kind: type[DigitscopeError]) -> None:
    """Each that is raised gets its status, its sentence, a count of its own, and a time to wait where waiting helps."""
    metrics = Metrics(Tally(), (), 1)
    answer = refusal(kind("the \ud800 sentence"), metrics)
    assert answer.status_code == STATUSES[kind]
    assert answer.body == b'{"error":"the ? sentence"}'
    assert ("Retry-After" in answer.headers) == (answer.status_code in (429, 503))
    counts = dict(zip(REASONS, metrics.refusals.of(metrics.tally.total()), strict=True))
    assert {reason for reason, count in counts.items() if count} == {kind.__name__.removesuffix("Error")}
    assert sum(counts.values()) == 1


def test_the_tree_is_shown() -> None:
    """The module's docstring draws each class once, under its parent."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DigitscopeError)}
    parents: list[str] = []
    for line in str(errors.__doc__).splitlines():
        if found := re.match(r"    ([│ ├└─]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            parents[depth:] = [found[2]]
            kind = getattr(errors, found[2])
            assert [base.__name__ for base in kind.__mro__[depth::-1]] == parents
            kinds.discard(kind)
    assert kinds == set()
