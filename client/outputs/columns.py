"""The columns of a table, and rows as batches of Arrow."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from client.prediction import Model, Row

SHAPE = b"shape"
"""What the metadata of a column of features says of each value's shape, as `8,28,28`."""


class Columns(NamedTuple):
    """Which columns there are beside `input`, `digit`, `confidence`, `rejected`, `reason` and `error`.

    Attributes:
        model: the model that answers.
        layer: the layer whose values are a column of that name, each flat, or None.
        probabilities: whether there are `p0` to `p9`.
        named: whether there are `model`, `version` and `sha256`.
    """

    model: Model
    layer: str | None = None
    probabilities: bool = False
    named: bool = False

    @property
    def schema(self) -> Any:
        """The columns as Arrow has them."""
        fields = [
            pa.field("input", pa.string(), nullable=False),
            pa.field("digit", pa.int8()),
            pa.field("confidence", pa.float32()),
            pa.field("rejected", pa.bool_()),
            pa.field("reason", pa.string()),
            pa.field("error", pa.string()),
        ]
        if self.probabilities:
            fields += [pa.field(f"p{digit}", pa.float32()) for digit in range(10)]
        if self.named:
            fields += [pa.field(name, pa.string(), nullable=False) for name in ("model", "version", "sha256")]
        if self.layer:
            shape = self.model.layers[self.layer]
            said = {SHAPE: ",".join(map(str, shape))}
            fields.append(pa.field(self.layer, pa.list_(pa.float32(), math.prod(shape)), metadata=said))
        return pa.schema(fields)

    def batch(self, rows: Sequence[Row]) -> Any:
        """Rows as a batch of Arrow."""
        found = [row.prediction for row in rows]
        columns: list[Any] = [
            [as_text(row.input) for row in rows],
            [each and each.digit for each in found],
            [each and each.confidence for each in found],
            [each and each.rejected for each in found],
            [each and each.reason for each in found],
            [row.error and as_text(row.error) for row in rows],
        ]
        if self.probabilities:
            nothing = (None,) * 10
            columns += zip(*[each.probabilities if each else nothing for each in found], strict=True)
        if self.named:
            columns += [[text] * len(rows) for text in (self.model.name, self.model.version, self.model.sha256)]
        schema = self.schema
        arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=False)]
        if self.layer:
            arrays.append(self._features(rows, schema.types[-1]))
        return pa.record_batch(arrays, schema=schema)

    def _features(self, rows: Sequence[Row], kind: Any) -> Any:
        values = np.zeros((len(rows), kind.list_size), np.float32)
        missing = np.ones(len(rows), bool)
        for number, row in enumerate(rows):
            if row.prediction and row.prediction.features is not None:
                values[number] = row.prediction.features.reshape(-1)
                missing[number] = False
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind, mask=pa.array(missing))


def as_text(name: str) -> str:
    """A name as text: what a file system has may be none."""
    return name if name.isascii() else name.encode(errors="replace").decode()
