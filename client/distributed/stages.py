"""The stages of a job: places → inputs → prepared digits → rows, each as tables of Arrow that go between processes.

Each is a function of its input alone, with the very code that a run without Ray goes through. So a stage that is done
again, because its process died or what it had made was lost, makes the same once more.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from client.asynchronous import Preprocess
from client.group import Group, groups
from client.inputs.stream import Place, place_items
from client.local import Digit, predicted, prepared
from client.outputs.columns import Columns, as_text
from client.prediction import Row

_PLACES = pa.schema([("name", pa.binary()), ("error", pa.string())])
_INPUTS = pa.schema(
    [("input", pa.string()), ("digit", pa.bool_()), ("data", pa.large_binary()), ("error", pa.string())]
)
_DIGITS = pa.schema([("input", pa.string()), ("pixels", pa.binary()), ("reason", pa.string()), ("error", pa.string())])


def place_table(places: Iterable[Place]) -> Any:
    """Places as a table. Names are bytes there, as what a file system has may be no text."""
    found = list(places)
    errors = [each.error and as_text(each.error) for each in found]
    return pa.table([[os.fsencode(each.name) for each in found], errors], schema=_PLACES)


def read(table: Any, column: str | None, preprocess: Preprocess, folder: str) -> Iterator[Any]:
    """The inputs of places, with the bytes of each or the sentence that says why there are none.

    Relative paths begin in `folder`, which a node need not have where there are none.
    """
    with contextlib.suppress(OSError):
        os.chdir(folder)
    places = (Place(os.fsdecode(name), error) for name, error in zip(*table.to_pydict().values(), strict=True))
    found = (item for place in places for item in place_items(place, column))
    for group in groups(found, preprocess):  # a generator, which Ray knows by its kind
        yield _input_table(group)


def _input_table(group: Group) -> Any:
    data = iter(group.data)
    there = [number not in group.errors for number in range(len(group.names))]
    return pa.table(
        [
            [as_text(name) for name in group.names],
            [group.kind == "digit"] * len(group.names),
            [next(data) if each else None for each in there],
            [None if each else as_text(group.errors[number]) for number, each in enumerate(there)],
        ],
        schema=_INPUTS,
    )


def prepare(table: Any, preprocess: Preprocess) -> Any:
    """The prepared digit of each input, 784 bytes."""
    found = [
        error if data is None else prepared("digit" if digit else "picture", [data], preprocess)[0]
        for digit, data, error in zip(*(table[name].to_pylist() for name in ("digit", "data", "error")), strict=True)
    ]
    digits = [each if isinstance(each, Digit) else None for each in found]
    return pa.table(
        [
            table["input"],
            [each and each.pixels for each in digits],
            [each and each.reason for each in digits],
            [as_text(each) if isinstance(each, str) else None for each in found],
        ],
        schema=_DIGITS,
    )


class Predict:
    """Makes rows of prepared digits. Each of the pool's actors holds one of these, with one session."""

    def __init__(self, model: Any, columns: Columns) -> None:
        """`model` is a reference to the files of the model's folder, which the cluster need not have."""
        self._columns = columns
        self._place = tempfile.TemporaryDirectory(prefix="digitscope-")
        files: Mapping[str, bytes] = ray.get(model)
        for name, data in files.items():
            (Path(self._place.name) / name).write_bytes(data)

    def __call__(self, table: Any) -> Any:
        """The table's rows, in its order."""
        names = table["input"].to_pylist()
        digits: Sequence[Digit | str] = [
            error if pixels is None else Digit(pixels, reason)
            for pixels, reason, error in zip(
                *(table[name].to_pylist() for name in ("pixels", "reason", "error")), strict=True
            )
        ]
        answers = predicted(Path(self._place.name), digits, self._columns.layer)
        rows = [
            Row(name, None, answer) if isinstance(answer, str) else Row(name, answer)
            for name, answer in zip(names, answers, strict=True)
        ]
        return pa.Table.from_batches([self._columns.batch(rows)])
