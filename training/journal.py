"""The metrics of a run, a JSON object a line: one a step, one an epoch."""

import json
from pathlib import Path
from typing import Any


class Journal:
    """`metrics.jsonl` of a run, appended to as it goes."""

    def __init__(self, path: Path, step: int = 0) -> None:
        """Opens the journal for a run that goes on after `step`; what was written of later steps is dropped."""
        kept = [record for record in read_journal(path) if record["step"] <= step] if step else []
        path.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def write(self, **record: float) -> None:
        """Adds one record, which has `step`, counted from 1."""
        self._file.write(json.dumps(record) + "\n")

    def flush(self) -> None:
        """Hands what was written to the system, so that it outlives this process."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The records of a journal, in order; none where there is no file. A line cut off by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
