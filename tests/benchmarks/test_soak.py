"""The soak: every kind of request is answered as it should be, and whatever grows is said."""

from dataclasses import replace

import pytest

from benchmarks.form import form
from benchmarks.plan import service_server
from benchmarks.server import run_server, wait_for_answer
from benchmarks.soak import Kind, Soak, Window, soak, write_table
from benchmarks.streams import streams
from benchmarks.vitals import Vitals

_HELD = Vitals(processes=(7, 8, 9), pss_mb=240.0, largest_mb=140.0, files=300, threads=20)
_RIGHT = Kind(right=599, refused=1, wrong={}, lost=0, unanswered=0, p50_ms=2.0, p99_ms=9.0)


def lasting(count: int, late: Vitals = _HELD) -> Soak:
    """So many windows in which all is well, but for what is held in the last fifth of them."""
    kinds = dict.fromkeys(streams(), _RIGHT)
    windows = [Window(kinds, 10, late if number >= count - count // 5 else _HELD) for number in range(count)]
    return Soak(windows, workers=2, seconds=60.0)


def with_kind(kind: Kind) -> Soak:
    """The same, with what became of the first kind in one window of ten."""
    found = lasting(10)
    found.windows[4] = replace(found.windows[4], kinds={**found.windows[4].kinds, "one prepared digit": kind})
    return found


def test_every_kind_of_request_is_answered_as_it_should_be() -> None:
    """A short soak of the service itself: no answer is wrong or missing, and what it holds is counted."""
    with run_server(service_server("digitscope", "digitscope", "0-1")) as running:
        wait_for_answer(running, form("raw"))
        found = soak(running, windows=2, seconds=1.0, scale=0.1, workers=1)
    for window in found.windows:
        assert {name: kind.errors for name, kind in window.kinds.items()} == dict.fromkeys(streams(), 0)
        assert all(kind.right + kind.refused for kind in window.kinds.values()) and window.hung_up == 10
        assert window.vitals.pss_mb > 50 and window.vitals.files > 10 and window.vitals.threads > 1
        assert running.session in window.vitals.processes
    assert found.wrong_digits == []


def test_a_soak_without_growth_falls_short_of_nothing() -> None:
    """Of ten windows, and of one alone."""
    for count in (1, 2, 10, 60):
        assert lasting(count).shortcomings() == []
    page = write_table(lasting(10), {"date": "today"})
    assert "All of it was kept." in page and "102,000 requests" in page and "- date: today" in page


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lasting(10, replace(_HELD, pss_mb=261.0)), "memory grew by 21.0 MB"),
        (lasting(10, replace(_HELD, files=309)), "9 more open files"),
        (lasting(10, replace(_HELD, threads=29)), "9 more threads"),
        (lasting(10, replace(_HELD, processes=(7, 8, 10))), "a process of the service was replaced"),
        (with_kind(replace(_RIGHT, wrong={500: 2, 400: 1})), "one prepared digit: 3 not answered right ([400, 500])"),
        (with_kind(replace(_RIGHT, right=500, refused=100)), "one prepared digit: 109 refused"),
        (with_kind(replace(_RIGHT, lost=1, unanswered=1)), "one prepared digit: 2 not answered right ([])"),
        (replace(lasting(10), wrong_digits=["raw was answered by 200: a 3"]), "raw was answered by 200: a 3"),
    ],
)
def test_what_falls_short_is_said(found: Soak, said: str) -> None:
    """Each bound by itself, in the page as well."""
    assert found.shortcomings() == [said]
    assert f"- **not kept**: {said}" in write_table(found, {})
