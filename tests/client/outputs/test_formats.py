"""What is written of the rows: each form holds the same values, read back by others than what wrote them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from client.outputs.columns import Columns
from client.outputs.formats import WRITERS, write_output
from client.prediction import Model, Prediction, Row

MODEL = Model("digits", "2", "abc", {"pool2": (2, 3)})
PROBABILITIES = tuple(float(np.float32(value)) for value in (0.1, 0.9, 1e-9, 0, 0, 0, 0, 0, 0, 0))
ROWS = [
    Row("plain.png", Prediction(1, PROBABILITIES[1], False, None, PROBABILITIES, np.arange(6, dtype=np.float32))),
    Row(
        'of, "all"\nkinds é\udcff', Prediction(1, PROBABILITIES[1], True, "blank", PROBABILITIES, np.ones((2, 3), "f4"))
    ),
    Row("bad.png", None, "it is, as it were, “broken”"),
]
NAMES = ["plain.png", 'of, "all"\nkinds é?', "bad.png"]


def write(path: Path, columns: Columns) -> None:
    """Writes the rows, in two batches."""
    batches = [columns.batch(ROWS[:2]), columns.batch(ROWS[2:])]
    write_output(path, columns.schema, lambda: batches)


@pytest.fixture
def columns() -> Columns:
    """All columns but those of a layer."""
    return Columns(MODEL, probabilities=True, named=True)


def test_csv(tmp_path: Path, columns: Columns) -> None:
    """Python's reader gives the names as they were; missing values are empty, numbers have the fewest digits."""
    write(tmp_path / "x.csv", columns)
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert [each["input"] for each in (first, second, third)] == NAMES
    assert (first["digit"], first["confidence"], first["p2"]) == ("1", "0.9", "1e-9")
    assert (first["rejected"], second["rejected"], second["reason"]) == ("false", "true", "blank")
    assert (third["digit"], third["p0"], third["error"]) == ("", "", ROWS[2].error)
    assert third["model"] == "digits" and third["version"] == "2" and third["sha256"] == "abc"


def test_csv_has_no_formulas(tmp_path: Path, columns: Columns) -> None:
    """What a spreadsheet would take for one has something in front: a path still names its file; JSON is as it was."""
    starts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx"]
    rows = [Row(f"{start}.png", None, f"{start} is broken") for start in starts] + [Row("a=1", None, "a-b"), ROWS[0]]
    for name in ("x.csv", "x.jsonl"):
        write_output(tmp_path / name, columns.schema, lambda: [columns.batch(rows)])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        found = [(row["input"], row["error"]) for row in csv.DictReader(file)]
    assert found[:6] == [(f"./{start}.png", f"'{start} is broken") for start in starts]
    assert found[6:] == [("a=1", "a-b"), ("plain.png", "")]
    plain = map(json.loads, (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines())
    assert [row["input"] for row in plain] == [row.input for row in rows]


@pytest.mark.parametrize("name", ["x.jsonl", "x.NDJSON"])
def test_json_lines(tmp_path: Path, columns: Columns, name: str) -> None:
    """An object a line, with every column in it, null where nothing is."""
    write(tmp_path / name, columns)
    first, second, third = map(json.loads, (tmp_path / name).read_text(encoding="utf-8").splitlines())
    assert [each["input"] for each in (first, second, third)] == NAMES
    assert first["confidence"] == 0.9 and first["rejected"] is False and first["p1"] == 0.9 and first["error"] is None
    assert third["digit"] is None and third["rejected"] is None and third["error"] == ROWS[2].error
    assert list(first) == columns.schema.names


def test_parquet_with_a_layer(tmp_path: Path) -> None:
    """Types are narrow, and a layer is a list of fixed size that says its shape."""
    write(tmp_path / "x.parquet", Columns(MODEL, "pool2"))
    table = pq.read_table(tmp_path / "x.parquet")
    kinds = ["string", "int8", "float", "bool", "string", "string", "fixed_size_list<element: float>[6]"]
    assert [str(kind) for kind in table.schema.types] == kinds
    assert table.schema.field("pool2").metadata == {b"shape": b"2,3"}
    assert table["input"].to_pylist() == NAMES and table["digit"].to_pylist() == [1, 1, None]
    assert table["pool2"].to_pylist() == [[0, 1, 2, 3, 4, 5], [1] * 6, None]


def test_npz_with_a_layer(tmp_path: Path) -> None:
    """NumPy reads it without pickles: an array a column, of the layer's own shape, NaN where nothing is."""
    write(tmp_path / "x.npz", Columns(MODEL, "pool2", probabilities=True))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        found: dict[str, Any] = dict(arrays)
    assert found["input"].tolist() == NAMES and found["error"].tolist() == ["", "", ROWS[2].error]
    assert found["digit"].tolist() == [1, 1, -1] and found["rejected"].tolist() == [False, True, False]
    assert found["pool2"].shape == (3, 2, 3) and found["pool2"][0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.isnan(found["pool2"][2]).all() and np.isnan(found["confidence"][2]) and np.isnan(found["p0"][2])


@pytest.mark.parametrize("suffix", WRITERS)
def test_nothing_and_failures_alone(tmp_path: Path, suffix: str) -> None:
    """A run without inputs, and one without an answer, have whole outputs too."""
    columns = Columns(MODEL)
    write_output(tmp_path / f"none{suffix}", columns.schema, list)
    batch = columns.batch(ROWS[2:])
    write_output(tmp_path / f"bad{suffix}", columns.schema, lambda: [batch])
    assert {path.stem for path in tmp_path.iterdir()} == {"none", "bad"}


def test_an_output_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """What fails in the middle leaves the file that was there before."""
    columns, path = Columns(MODEL), tmp_path / "x.csv"
    path.write_text("before")

    def batches() -> Any:
        yield columns.batch(ROWS[:1])
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_output(path, columns.schema, batches)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_large_tables_have_row_groups_of_bounded_size(tmp_path: Path) -> None:
    """20,000 rows are in groups of at most 8,192, however small the batches are."""
    columns = Columns(MODEL)
    batch = columns.batch([ROWS[0]] * 500)
    write_output(tmp_path / "x.parquet", columns.schema, lambda: [batch] * 40)
    file = pq.ParquetFile(tmp_path / "x.parquet")
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert sum(sizes) == 20_000 and max(sizes) <= 8192 and len(sizes) == 3
