"""What requests cost: how the table reads. Nothing is timed here."""

from benchmarks.cost import Cost, write_table


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which all is slow changes no ratio; two workers reach as far as two CPUs do with the generator."""
    one = {
        "plain FastAPI, upload": Cost(300, 20),
        "png": Cost(100, 12),
        "raw": Cost(45, 12),
        "raw, 2 workers": Cost(46, 14),
        "png, before": Cost(180, 12),
        "raw, before": Cost(45, 12),
    }
    slow = {name: Cost(2 * cost.server, 2 * cost.generator) for name, cost in one.items()}
    table = write_table([one, slow, one])
    assert "| png | 100 (100–200) | 12 (12–24) |" in table
    assert "- plain FastAPI / png: 3 (3–3)" in table
    assert "- two workers / one, as far as both CPUs reach: 1.5 (1.5–1.5)" in table
    assert "- png, before / after: 1.8 (1.8–1.8)" in table and "- raw, before / after: 1 (1–1)" in table


def test_what_is_traced_is_set_beside_what_is_not() -> None:
    """Each way of tracing has its ratio, where it was measured."""
    names = ("plain FastAPI, upload", "png", "raw", "raw, 2 workers")
    measured = dict.fromkeys(names, Cost(50, 10)) | {"raw, all traced": Cost(150, 10)}
    table = write_table([measured])
    assert "- raw, all traced / raw: 3 (3–3)" in table and "in a hundred" not in table


def test_nothing_is_compared_with_what_was_not_measured() -> None:
    """Without another checkout there are the two ratios that claims are about."""
    names = ("plain FastAPI, upload", "png", "raw", "raw, 2 workers")
    assert "before" not in write_table([dict.fromkeys(names, Cost(1, 1))])
