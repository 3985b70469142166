"""The open-loop generator is honest: what a closed loop leaves out shows, and no request is lost from the count."""

import socket

from benchmarks.overload import OpenLoop, run_open_loop
from tests.benchmarks.stalling import stalling

_REQUESTS = [b"ask\n"]


def run(port: int, *, rate: float = 1000, seconds: float = 1, limit: int = 400, drain: float = 3) -> OpenLoop:
    """A run against a server of the tests."""
    return run_open_loop("127.0.0.1", port, _REQUESTS, rate=rate, seconds=seconds, limit=limit, drain=drain)


def test_a_stall_shows_in_the_percentiles() -> None:
    """While a server stands still for 200 ms of 1 s, a fifth of all requests is due, and each waits a part of it.

    A generator that waits for answers would have one slow request in 800, and a 99th percentile that shows nothing.
    """
    with stalling(stall_at=400, stall_s=0.2) as port:
        found = run(port)
    assert found.served == found.requests == 1000
    assert found.served_ms["max"] >= 190
    assert found.served_ms["p99"] >= 150
    assert found.served_ms["p90"] >= 60


def test_the_clock_runs_while_a_request_waits_for_a_connection() -> None:
    """With one connection alone, requests that are due in the stall wait here, and their time counts all the same."""
    with stalling(stall_at=400, stall_s=0.2) as port:
        found = run(port, limit=1)
    assert found.connections == 1
    assert found.served == 1000
    assert found.served_ms["p90"] >= 60
    assert found.late_ms["p90"] >= 50, "and it is told that they waited here"


def test_what_cannot_be_sent_in_time_is_no_part_of_a_cut_load() -> None:
    """Every request that was sent has its end, and the count of those that were not is not hidden in another."""
    with stalling(stall_at=300, stall_s=1.0) as port:
        found = run_open_loop("127.0.0.1", port, _REQUESTS, rate=1000, seconds=1, limit=1, drain=5, cut=True)
    assert found.requests == found.served == 300 and found.errors == 0


def test_refusals_are_counted_apart() -> None:
    """A 503 is an answer and no error, and its time is not among the served."""
    with stalling(refuse_every=4) as port:
        found = run(port, rate=400)
    assert (found.served, found.refused, found.errors) == (300, 100, 0)
    assert set(found.refused_ms) == {"p50", "p90", "p99", "p99.9", "max"}


def test_every_request_has_one_end() -> None:
    """A request whose connection is closed is lost, and those that a dead server never answers are unanswered."""
    with stalling(close_at=200) as port:
        found = run(port, rate=400)
    assert (found.lost, found.served) == (1, 399)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        found = run(mute.getsockname()[1], rate=50, drain=0.2)
    assert found.served_ms == {}
    assert (found.served, found.unanswered) == (0, 50)
    for end in (found.served, found.refused, found.failed, found.lost):
        assert end == 0
