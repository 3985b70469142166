"""The verdict on overload: what a run shows is held to what was promised, and what is missing is said."""

from dataclasses import replace

import pytest

from benchmarks.overload import OpenLoop
from benchmarks.overloaded import KINDS, Level, write_table

_RUN = OpenLoop(
    rate=200.0, requests=12_000, served=5_600, refused=6_400, failed=0, lost=0, unanswered=0, seconds=60.2,
    served_ms={"p50": 400.0, "p99": 800.0}, refused_ms={"p50": 1.0, "p99": 9.0, "max": 20.0}, connections=300, cpu=0.1,
    late_ms={"p50": 0.5, "p99": 2.0},
)  # fmt: skip
_GOOD = Level(2.0, 100.0, _RUN, 60.0, (140.0, 150.0, 156.0, 155.0), 0.2, 0, 9.0, 0.99)


def test_a_good_run_falls_short_of_nothing() -> None:
    """Its goodput is what was served a second in parts of the peak, over all of the time that it took."""
    assert _GOOD.goodput == pytest.approx(5_600 / 60.2 / 100) and _GOOD.offered == 2.0
    assert all(_GOOD.shortcomings(kind) == [] for kind in KINDS.values())
    assert "All of it was kept." in write_table({"photo": [_GOOD]}, {"date": "today"})


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (replace(_GOOD, run=replace(_RUN, served=5_000)), "goodput 0.83, below 0.9"),
        (replace(_GOOD, run=replace(_RUN, refused_ms={"p50": 1.0, "p99": 60.0, "max": 70.0})), "refusals take 60 ms"),
        (replace(_GOOD, run=replace(_RUN, lost=2)), "2 requests neither served nor refused"),
        (replace(_GOOD, memory_mb=(140.0, 150.0, 170.0, 170.0)), "memory grew by 20 MB"),
        (replace(_GOOD, late_answer=1.5), "recovered late: 1.50 s"),
        (replace(_GOOD, probes_refused=3), "3 probes refused"),
        (replace(_GOOD, level=5.0), "the generator offered 2.0 times the peak only"),
    ],
)
def test_what_falls_short_is_said(level: Level, said: str) -> None:
    """Each bound by itself, in the page as well."""
    (found,) = level.shortcomings(KINDS["photo"])
    assert said in found
    assert f"**not kept**: {KINDS['photo'].title}, {level.level:g} times: {found}" in write_table(
        {"photo": [level]}, {}
    )


def test_goodput_is_promised_where_refusing_is_cheap() -> None:
    """Of small pictures and single digits the curve is stated, and no bound is held against it."""
    poor = replace(_GOOD, run=replace(_RUN, served=1_000))
    assert poor.shortcomings(KINDS["raw"]) == poor.shortcomings(KINDS["png"]) == []
    assert poor.shortcomings(KINDS["raw256"])
