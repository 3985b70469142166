"""The batch client's benchmark: how its table reads. Nothing is timed here."""

from benchmarks.batch import BATCH, LOOP, TRITON_ONE, Peaks, write_table


def test_ratios_are_taken_round_by_round() -> None:
    """Each who asks stands beside the batch client of the same round; what is not installed is told."""
    rates = {BATCH: [1000.0, 2000.0, 3000.0], LOOP: [500.0, 500.0, 500.0]}
    peaks = [Peaks("--local", 100.0, 104.0)]
    table = write_table(rates, peaks, (70_000, 10_000, 1_000_000), {"machine": "one"})
    assert "| digitscope-batch | 2,000 (1,000–3,000) |  |" in table
    assert "| httpx, one after the other | 500 (500–500) | 4 (2–6) |" in table
    assert "| --local | 100 | 104 | 1.040 |" in table and "over 10,000 and over 1,000,000" in table
    assert "tritonclient is not installed" in table and "- machine: one" in table
    assert "not installed" not in write_table(rates | {TRITON_ONE: [1.0] * 3}, peaks, (1, 1, 1), {})
