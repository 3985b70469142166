"""What a viewer costs: how its table reads. Nothing is timed here."""

from benchmarks.viewer import Round, write_table


def test_ratios_are_taken_round_by_round() -> None:
    """The median of the rounds' own ratios stands beside the medians, and what failed is counted over all rounds."""
    alone = {"p50": 1.0, "p90": 2.0, "p99": 4.0}
    rounds = [
        Round(alone, {"p50": 1.0, "p90": 2.0, "p99": 8.0}, errors=0, drawings=40),
        Round(alone, {"p50": 1.5, "p90": 2.0, "p99": 8.0}, errors=2, drawings=50),
        Round({name: 2 * value for name, value in alone.items()}, {"p50": 2.2, "p90": 8, "p99": 8}, 1, 45),
    ]
    table = write_table(5000.0, rounds, {"machine": "one"})
    assert "| p50 | 1 (1–2) | 1.5 (1–2.2) | 1.1 (1–1.5) |" in table
    assert "| p99 | 4 (4–8) | 8 (8–8) | 2 (1–2) |" in table
    assert "not served: 3." in table and "at 5,000 a second" in table and "45 (40–50) drawings" in table
    assert "- machine: one" in table
