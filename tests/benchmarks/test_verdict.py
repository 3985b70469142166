"""Verdicts: the right sides in each ratio, the bound on the right side, and nothing held that was not measured."""

import json

import pytest

from benchmarks.cpus import Cpus
from benchmarks.engine_floor import BATCHES, Engine
from benchmarks.memory import Memory
from benchmarks.overload import OpenLoop
from benchmarks.plan import plan
from benchmarks.results import Results
from benchmarks.rounds import Round
from benchmarks.table import write_tables
from benchmarks.verdict import CLAIMS, judge
from benchmarks.wrk import Load

_RATES = {
    "floor/floor/1/64": 30_000,
    "digitscope/raw/1/64": 11_000,
    "digitscope/oip-binary/1/64": 10_800,
    "digitscope/raw/256/16": 75,
    "digitscope/oip-binary/256/16": 72,
    "digitscope/png/1/64": 4_000,
    "digitscope-int8/raw/1/64": 13_000,
    "digitscope-2/raw/1/64": 17_800,
    "digitscope-2/raw/1/128": 18_000,
    "fastapi_plain/plain-upload/1/64": 1_500,
    "pytriton/oip-binary/1/64": 2_000,
}


def open_loop(rate: float, served: int, refused: int) -> OpenLoop:
    """A run of one second."""
    return OpenLoop(
        rate=rate, requests=served + refused, served=served, refused=refused, failed=0, lost=0, unanswered=0,
        seconds=1.0, served_ms=dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 4.0), refused_ms={},
        connections=9, cpu=0.4,
    )  # fmt: skip


def results(speed: float = 1.0) -> Results:
    """A run whose machine had that speed, and in which all is held."""
    found = Round(
        loads={key: Load(1, rate * speed, 500 / speed, 900 / speed) for key, rate in _RATES.items()},
        engines={"float32": Engine(dict.fromkeys(BATCHES, 20_000 * speed), 100 / speed)},
        open_loops={
            "digitscope": {0.7: open_loop(7_700, 7_700, 0), 1.5: open_loop(16_500, 7_000, 4_000)},
        },
        memory={"digitscope": [Memory(90, 80)], "digitscope-2": [Memory(90, 80), Memory(95, 80)]},
    )
    found.loads["floor/floor/1/1"] = Load(1, 9_000 * speed, 60 / speed, 90 / speed)
    found.loads["digitscope/raw/1/1"] = Load(1, 3_000 * speed, 320 / speed, 500 / speed)
    titles = {measured.server.name: measured.server.title for measured in plan(Cpus(0, 1))}
    return Results("2020-01-01", {"processor": "x"}, {}, {}, titles, {"bentoml": "no"}, [0.7, 0.8], [found])


def test_all_lines_of_the_issue_are_judged() -> None:
    """There are claims for each of the lines 1 to 6, all measured and held here."""
    verdicts = judge(results())
    assert {verdict.line for verdict in verdicts} == {1, 2, 3, 4, 5, 6}
    assert [verdict.text for verdict in verdicts if not verdict.held] == []


def test_ratios_by_hand() -> None:
    """The limit is 12,000 here; 11,000 of it are 0.917, and 75 requests of 256 images are 0.96 of 20,000."""
    found = {verdict.text: verdict.found.median for verdict in judge(results()) if verdict.found}
    assert found["raw, 64 connections / limit"] == pytest.approx(11 / 12)
    assert found["256 images, raw / ONNX Runtime's best"] == pytest.approx(0.96)
    assert found["p50 at one connection / (bare ASGI's + one call)"] == pytest.approx(2.0)
    assert found["resident memory of the larger of two workers, in MB"] == 95


def test_a_slow_machine_changes_no_ratio_of_rates() -> None:
    """Lines 1 to 4 are the same on half the speed."""
    fast, slow = (
        [verdict.found for verdict in judge(results(speed)) if verdict.line < 5 and verdict.found]
        for speed in (1.0, 0.5)
    )
    assert [spread.median for spread in slow] == pytest.approx([spread.median for spread in fast])


def test_what_is_worse_than_its_bound_is_not_held() -> None:
    """Each bound is on the right side: a server of a tenth of the speed, with ten times the latency, breaks line 1."""
    slow = results()
    for key in slow.rounds[0].loads:
        if key.startswith("digitscope"):
            slow.rounds[0].loads[key] = Load(1, 0.1 * _RATES.get(key, 1), 5_000, 9_000)
    broken = {verdict.text for verdict in judge(slow) if verdict.held is False and verdict.line < 4}
    assert broken == {claim.text for claim in CLAIMS if claim.line < 4}


def test_nothing_measured_is_nothing_held() -> None:
    """Without figures every verdict is open, and the page and the JSON are written all the same."""
    nothing = Results("2020-01-01", {}, {}, {}, {}, {}, [], [Round()])
    verdicts = judge(nothing)
    assert {verdict.held for verdict in verdicts} == {None}
    assert "not measured" in write_tables(nothing, verdicts)
    json.dumps(nothing.as_json(), allow_nan=False)


def test_the_page_has_every_figure() -> None:
    """Each load has a row, and what was not measured has its cause."""
    page = write_tables(results(), judge(results()))
    for rate in (30_000, 11_000, 10_800, 4_000, 13_000, 17_800, 1_500, 2_000):
        assert f"{rate:,}" in page
    assert "| bentoml | no |" in page
    assert json.loads(json.dumps(results().as_json(), allow_nan=False))["rounds"][0]["engines"]["float32"]["rates"]["8"]
