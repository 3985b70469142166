"""The batch client's benchmark: how its table reads. Nothing is timed here."""

from benchmarks.batch import BATCH, LOOP, TRITON_ONE, write_table


def test_ratios_are_taken_round_by_round() -> None:
    """Each who asks stands beside the batch client of the same round; what is not installed is told."""
    rates = {BATCH: [1000.0, 2000.0, 3000.0], LOOP: [500.0, 500.0, 500.0]}
    table = write_table(rates, 70_000, {"machine": "one"})
    assert "| digitscope-batch | 2,000 (1,000–3,000) |  |" in table
    assert "| requests, one after the other | 500 (500–500) | 4 (2–6) |" in table
    assert "tritonclient is not installed" in table and "- machine: one" in table
    assert "not installed" not in write_table(rates | {TRITON_ONE: [1.0] * 3}, 1, {})
