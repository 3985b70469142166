"""The benchmark of the job of Ray Data: how its table reads. Nothing is timed here."""

from benchmarks.ray import Killed, Run, write_table

_RUNS = {
    "--local, one CPU": [Run(100.0, 120.0), Run(200.0, 220.0), Run(300.0, 320.0)],
    "--engine ray, one CPU": [Run(50.0, 60.0), Run(150.0, 160.0), Run(300.0, 310.0)],
}


def test_ratios_are_taken_round_by_round() -> None:
    """Ray stands beside --local of the same round, on as many CPUs."""
    table = write_table(_RUNS, Killed(5.0, 20.0, 10.0, 1000, equal=True), 1000, {"ray": "2.60.0"})
    assert "| --local, one CPU | 200 (100–300) | 220 (120–320) |  |" in table
    assert "| --engine ray, one CPU | 150 (50–300) | 160 (60–310) | 0.75 (0.5–1) |" in table
    assert "after 20.0 s, beside 10.0 s" in table and "1,000 rows are the same as" in table and "- ray: 2.60.0" in table


def test_rows_that_differ_are_told() -> None:
    """The page says so, loudly."""
    assert "rows are NOT the same as" in write_table(_RUNS, Killed(5.0, 20.0, 10.0, 999, equal=False), 1000, {})
