"""The metrics of a run, kept through crashes."""

import json
from pathlib import Path

from training.journal import Journal, read_journal


def test_records_are_lines_of_json_in_order(tmp_path: Path) -> None:
    """What is written is read back, by this reader and as one JSON document a line."""
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.write(step=1, loss=2.5)
    journal.write(step=2, loss=1e-300)
    journal.close()
    records = [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1e-300}]
    assert read_journal(path) == records
    assert [json.loads(line) for line in path.read_text().splitlines()] == records


def test_what_was_flushed_outlives_the_process(tmp_path: Path) -> None:
    """A record can be read after a flush although nobody closed the journal."""
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.write(step=1)
    journal.flush()
    assert read_journal(tmp_path / "metrics.jsonl") == [{"step": 1}]
    journal.close()


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    """The lines before it count, and a journal that goes on does not glue its first record to it."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_journal(path) == [{"step": 1}, {"step": 2}]
    journal = Journal(path, 2)
    journal.write(step=3)
    journal.close()
    assert read_journal(path) == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_a_run_that_goes_on_drops_later_steps(tmp_path: Path) -> None:
    """Of steps after the saved state nothing stays, as they will be done again."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in (1, 2, 2, 3, 4)))
    Journal(path, 2).close()
    assert read_journal(path) == [{"step": 1}, {"step": 2}, {"step": 2}]


def test_a_new_run_starts_an_empty_journal(tmp_path: Path) -> None:
    """Without a file there are no records, and what an earlier run left is dropped."""
    path = tmp_path / "metrics.jsonl"
    assert read_journal(path) == []
    path.write_text('{"step": 1}\n')
    Journal(path).close()
    assert read_journal(path) == []
