"""What is known of an output that was finished before: whether inputs failed."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from client.errors import RunError

_ERROR = "error"


def has_failures(output: Path) -> bool:
    """Whether any row of a finished output has an error.

    Raises:
        RunError: it is no table of a run.
    """
    try:
        return any(_READERS[output.suffix.lower()](output))
    except Exception as error:  # of whatever lies there instead
        raise RunError(f"{output} is there already, and is no table of a run: {type(error).__name__}") from error


def _read_csv(output: Path) -> Iterator[Any]:
    with output.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        place = next(rows).index(_ERROR)
        for row in rows:
            yield row[place]


def _read_lines(output: Path) -> Iterator[Any]:
    with output.open("rb") as file:
        for line in file:
            yield orjson.loads(line)[_ERROR]


def _read_parquet(output: Path) -> Iterator[Any]:
    with pq.ParquetFile(output) as table:
        for batch in table.iter_batches(columns=[_ERROR]):
            yield batch.column(0).null_count < len(batch)


def _read_npz(output: Path) -> Iterator[Any]:
    with np.load(output, allow_pickle=False) as arrays:
        yield (arrays[_ERROR] != "").any()


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".parquet": _read_parquet,
    ".npz": _read_npz,
}
