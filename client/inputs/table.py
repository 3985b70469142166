"""Parquet files with the bytes of pictures in a column → items."""

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from client.errors import InputError
from client.inputs.item import LARGEST, Content, Item, broken

_ROWS = 64  # that are read at once
_BYTES = "bytes"  # the field of a picture's struct, as the datasets of Hugging Face have it


def table_items(name: str, file: BinaryIO, column: str | None) -> Iterator[Item]:
    """The pictures of a Parquet file, as `name[0]` and so on.

    They lie in the column of that name, or else in the only one that has bytes, or a struct with bytes.
    """
    try:
        table = pq.ParquetFile(file, pre_buffer=False)
        found = [field.name for field in table.schema_arrow if column in (None, field.name) and _has_bytes(field.type)]
    except Exception as error:  # of whatever storage it lies in, or pyarrow's own
        yield broken(name, f"it is no Parquet file that can be read: {error}")
        return
    if len(found) != 1:
        wanted = "bytes" if column is None else f"bytes in a column '{column}'"
        yield broken(name, f"it has {len(found)} columns with {wanted}, and one is needed (--column names it)")
        return
    start = 0
    try:
        for batch in table.iter_batches(_ROWS, columns=found, use_threads=False):
            for number, value in enumerate(batch.column(0), start):
                yield Item(f"{name}[{number}]", partial(_content, value))
            start += len(batch)
    except Exception as error:  # pyarrow's own, of which some are plain ones
        yield broken(f"{name}[{start}]", f"it cannot be read from here on: {error}")


def _has_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index(_BYTES) >= 0 and _has_bytes(kind.field(_BYTES).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _content(value: Any) -> Content:
    data = value.as_py()
    if isinstance(data, dict):
        data = data[_BYTES]
    if not data:
        raise InputError("it is empty")
    if len(data) > LARGEST:
        raise InputError(f"it has more than {LARGEST:,} bytes")
    return Content("picture", data)
