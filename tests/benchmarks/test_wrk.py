"""What wrk writes is read right, and its failures are never taken for figures."""

import shutil
from pathlib import Path

import pytest
from fastapi import FastAPI

from benchmarks.errors import BenchmarkError
from benchmarks.form import form
from benchmarks.wrk import read_wrk, run_wrk
from tests.service.serving import process, serving

_WRITTEN = """\
Running 1s test @ http://127.0.0.1:9999
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.98ms    1.20ms  15.46ms   80.11%
Requests/sec:  11860.14
figures {{"requests": 23880, "microseconds": 2013461, "p50_us": 4809, "p99_us": 15463, "most_us": 20111, \
"connect": 0, "read": 0, "write": 0, "status": {status}, "timeout": 0}}
"""


def test_figures_are_read_in_microseconds() -> None:
    """The rate is requests over wrk's own clock, and the latencies are its distribution's."""
    load = read_wrk(_WRITTEN.format(status=0))
    assert load.requests == 23880
    assert load.rate == pytest.approx(23880 / 2.013461)
    assert (load.p50_us, load.p99_us) == (4809, 15463)


@pytest.mark.parametrize(
    ("written", "says"),
    [(_WRITTEN.format(status=3), "'status': 3"), ("unable to connect", "unable to connect"), ("", "no figures")],
)
def test_a_load_with_errors_is_no_figure(written: str, says: str) -> None:
    """One answer that is not 2xx, or no figures at all, fails the load and says so."""
    with pytest.raises(BenchmarkError, match=says):
        read_wrk(written)


needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@needs_wrk
def test_wrk_asks_what_the_form_says(tmp_path: Path) -> None:
    """The generated script is one that wrk runs, and this service answers every one of its requests with 200."""
    with process(tmp_path / "log", "--provider", "cpu", "--threads", "1") as running:
        load = run_wrk(running.port, form("png"), connections=2, seconds=1, cpu="0-1023")
    assert load.requests > 0
    assert 0 < load.p50_us <= load.p99_us


@needs_wrk
def test_a_server_that_refuses_is_not_measured() -> None:
    """Answers of 404 are counted by wrk as requests, and are a failure here."""
    with serving(FastAPI()) as client, pytest.raises(BenchmarkError, match="'status'"):
        run_wrk(client.base_url.port or 0, form("raw"), connections=1, seconds=1, cpu="0-1023")
