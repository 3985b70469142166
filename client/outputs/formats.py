"""The rows of a finished run → the output, there whole or not at all."""

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from client.outputs.columns import SHAPE

Batches = Callable[[], Iterable[Any]]
"""Begins to read the batches anew, each time that it is called."""

_FORMULA = r"^[=+\-@\t\r]"
_GROUP_ROWS, _GROUP_BYTES = 8_192, 8 * 2**20  # of a row group of Parquet, at most


def write_output(output: Path, schema: Any, batches: Batches) -> None:
    """Writes the output, in the form that its name asks for, and puts it into its place in one step.

    Raises:
        OSError: the folder cannot be written to.
    """
    unfinished = unfinished_of(output)
    try:
        with unfinished.open("wb") as file:
            WRITERS[output.suffix.lower()](file, schema, batches)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished_of(path: Path) -> Path:
    """The file beside an output or a report while it is written."""
    return path.with_name(path.name + ".unfinished")


def _write_csv(file: IO[bytes], schema: Any, batches: Batches) -> None:
    with pa_csv.CSVWriter(file, schema, write_options=pa_csv.WriteOptions(quoting_style="needed")) as writer:
        for batch in batches():
            writer.write_batch(pa.record_batch(list(map(_inert, schema.names, batch.columns)), schema=schema))


def _inert(name: str, column: Any) -> Any:
    """A column whose texts no spreadsheet takes for formulas (OWASP, "CSV Injection").

    A path gets `./` in front, which names the same file, and any other text an apostrophe.
    """
    if not pa.types.is_string(column.type):
        return column
    front = "./" if name == "input" else "'"
    return pc.if_else(
        pc.match_substring_regex(column, _FORMULA), pc.binary_join_element_wise(front, column, ""), column
    )


def _write_lines(file: IO[bytes], schema: Any, batches: Batches) -> None:
    for batch in batches():
        columns = [_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            row = dict(zip(schema.names, values, strict=True))
            file.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))


def _values(column: Any) -> list[Any]:
    """A column's values; real numbers as float32, of which the fewest digits are written that give them back."""
    if column.type != pa.float32():
        found: list[Any] = column.to_pylist()
        return found
    return [None if value is None else np.float32(value) for value in column.to_pylist()]


def _write_parquet(file: IO[bytes], schema: Any, batches: Batches) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in _row_groups(schema, batches()):
            writer.write_table(table)


def _row_groups(schema: Any, batches: Iterable[Any]) -> Iterator[Any]:
    gathered: list[Any] = []
    for batch in batches:
        rows, size = sum(map(len, gathered)), sum(each.nbytes for each in gathered)
        if gathered and (rows + len(batch) > _GROUP_ROWS or size + batch.nbytes > _GROUP_BYTES):
            yield pa.Table.from_batches(gathered, schema)
            gathered = []
        gathered.append(batch)
    if gathered:
        yield pa.Table.from_batches(gathered, schema)


def _write_npz(file: IO[bytes], schema: Any, batches: Batches) -> None:
    """An array a column; what is missing is "", −1 of digits, NaN of real numbers, false of truth values."""
    rows = 0
    longest = dict.fromkeys(schema.names, 1)
    for batch in batches():
        rows += len(batch)
        for name, column in zip(schema.names, batch.columns, strict=True):
            if pa.types.is_string(column.type):
                longest[name] = max(longest[name], *map(len, filter(None, column.to_pylist())), 1)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1) as archive:
        for number, field in enumerate(schema):
            dtype, shape = _numpy_form(field, longest[field.name])
            head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, *shape)}
            with archive.open(f"{field.name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, head)
                for batch in batches():
                    member.write(_numpy_values(batch.column(number), dtype).tobytes())


def _numpy_form(field: Any, longest: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if pa.types.is_string(field.type):
        return np.dtype(f"<U{longest}"), ()
    if pa.types.is_fixed_size_list(field.type):
        return np.dtype("<f4"), tuple(map(int, field.metadata[SHAPE].split(b",")))
    return np.dtype(field.type.to_pandas_dtype()), ()


def _numpy_values(column: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    if pa.types.is_fixed_size_list(column.type):
        values = np.full((len(column), column.type.list_size), np.nan, dtype)
        there = np.asarray(column.is_valid())
        values[there] = np.asarray(column.flatten()).reshape(-1, column.type.list_size)
        return values
    missing: Any = {"U": "", "i": -1, "b": False}.get(dtype.kind, np.nan)
    return np.array([missing if value is None else value for value in column.to_pylist()], dtype)


WRITERS: dict[str, Callable[[IO[bytes], Any, Batches], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".ndjson": _write_lines,
    ".parquet": _write_parquet,
    ".npz": _write_npz,
}
"""What writes each form, by the end of the output's name."""
