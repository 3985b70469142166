"""The rows of a run that is not finished, on disk, so that they outlive its death at any moment.

Beside the output FILE lie two files. `FILE.partial` has the rows as a stream of Arrow's record batches
(https://arrow.apache.org/docs/format/Columnar.html), which is only ever appended to. `FILE.journal` has a line of JSON
that says what the run is, and then one for each batch, written after the batch is safe on disk: how many rows there are
by now, how many bytes, the CRC-32 of these, and a hash of all names of inputs so far. Whatever follows the last whole
line of the journal, or does not agree with it, was cut off by a death, and is cut away.
"""

import fcntl
import hashlib
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson
import pyarrow as pa

from client.errors import RunError
from client.inputs.item import Item
from client.memory import give_back
from client.outputs.columns import Columns
from client.prediction import Row

_ROWS = 2048  # of a batch, at most
_BYTES = 8 * 2**20  # of a batch's features, at most
_SECONDS = 1.0  # between two batches, at most
_PIECE = 2**20  # bytes that are read at once
_OTHERS = "the inputs are others than those of the unfinished run: --restart begins anew"


class Ledger:
    """The rows so far. Used as a context, it keeps what was written before an exception, too.

    Attributes:
        rows: how many are safe or about to be.
        kept: how many were there when it was opened.
    """

    def __init__(
        self, output: Path, columns: Columns, identity: dict[str, Any], *, resume: bool, restart: bool
    ) -> None:
        """Begins a run, or goes on with the one that `identity` describes.

        Raises:
            RunError: there is an unfinished run and it is not to be resumed, or it is another one, or still runs.
            OSError: the folder cannot be written to.
        """
        self._partial, self._journal = partial_of(output), journal_of(output)
        self._columns = columns
        self._schema = columns.schema
        width = self._schema.types[-1].list_size * 4 if columns.layer else 1
        self._most = max(1, min(_ROWS, _BYTES // width))
        self.rows = self._bytes = self._checksum = 0  # CRC-32 of nothing
        self._names = ""  # the hash of those so far, each name after the hash of those before it
        self._waiting: list[Row] = []
        self._committed = time.monotonic()
        if self._journal.exists() and not (resume or restart):
            raise RunError(f"an unfinished run is there: --resume goes on with {output}, --restart begins anew")
        with ExitStack() as stack:
            self._lines = stack.enter_context(self._journal.open("ab+"))
            try:
                fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(f"another run is writing {output}") from error
            self._batches = stack.enter_context(self._partial.open("ab+"))
            self._begin(orjson.loads(orjson.dumps(identity)), resume=resume and not restart)
            self._files = stack.pop_all()
        self.kept = self.rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._files:
            self.commit()

    def write(self, rows: Sequence[Row]) -> None:
        """Takes in rows, which are safe a second later at most."""
        self._waiting += rows
        self.rows += len(rows)
        for row in rows:
            self._names = _hash(self._names, row.input)
        if len(self._waiting) >= self._most or time.monotonic() - self._committed > _SECONDS:
            self.commit()

    def commit(self) -> None:
        """Makes safe what was written."""
        self._committed = time.monotonic()
        done = self.rows - len(self._waiting)
        waiting, self._waiting = self._waiting, []  # at first: after a failure none is written again
        for start in range(0, len(waiting), self._most):
            part = waiting[start : start + self._most]
            self._append(memoryview(self._columns.batch(part).serialize()))
            done += len(part)
        if waiting:
            _sync(self._batches)
            self._note({"rows": done, "names": self._names})
            give_back()

    def unread(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items after those whose rows are there.

        Raises:
            RunError: those before are others than they were.
        """
        before = ""
        kept = self._names
        for number, item in enumerate(items):
            if number < self.kept:
                before = _hash(before, item.name)
                continue
            if before != kept:
                raise RunError(_OTHERS)
            yield item
        if before != kept:  # of items that are fewer than they were
            raise RunError(_OTHERS)

    def batches(self) -> Iterator[Any]:
        """All rows that are safe, in batches of Arrow."""
        with pa.OSFile(str(self._partial)) as file, pa.ipc.open_stream(file) as stream:
            yield from stream

    def remove(self) -> None:
        """Takes the two files away, when the output is there; the journal first, without which there is no run."""
        self._journal.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _begin(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Cuts both files to what is whole and belongs together, or to nothing and begins."""
        self._lines.seek(0)
        lines = self._lines.read().split(b"\n")[:-1] if resume else []
        if not (lines and self._is_whole(first := _read(lines[0]))):
            self._lines.truncate(0)
            self._batches.truncate(0)
            self._append(memoryview(self._schema.serialize()))
            _sync(self._batches)
            self._note({"rows": 0, "names": "", "run": identity})
            return
        for name, value in identity.items():
            if first["run"].get(name) != value:
                raise RunError(f"the unfinished run had {name} {first['run'].get(name)}, and this one has {value}")
        length = 0
        for line in lines:
            note = _read(line)
            if not self._is_whole(note):
                break
            self.rows, self._names, self._bytes, self._checksum = (
                note[key] for key in ("rows", "names", "bytes", "crc32")
            )
            length += len(line) + 1
        self._lines.truncate(length)
        self._batches.truncate(self._bytes)

    def _is_whole(self, note: dict[str, Any]) -> bool:
        """Whether the partial file has the bytes that follow the last note, up to this one, as it says."""
        if not note.keys() >= {"rows", "names", "bytes", "crc32"}:
            return False
        self._batches.seek(self._bytes)
        left, checksum = note["bytes"] - self._bytes, self._checksum
        while left > 0 and (piece := self._batches.read(min(left, _PIECE))):
            checksum = zlib.crc32(piece, checksum)
            left -= len(piece)
        return left == 0 and bool(checksum == note["crc32"])

    def _append(self, data: memoryview) -> None:
        self._batches.write(data)
        self._bytes += len(data)
        self._checksum = zlib.crc32(data, self._checksum)

    def _note(self, content: dict[str, Any]) -> None:
        self._lines.write(orjson.dumps(content | {"bytes": self._bytes, "crc32": self._checksum}) + b"\n")
        _sync(self._lines)


def partial_of(output: Path) -> Path:
    """The file of rows beside an output that is not finished."""
    return output.with_name(output.name + ".partial")


def journal_of(output: Path) -> Path:
    """The journal beside it."""
    return output.with_name(output.name + ".journal")


def _hash(before: str, name: str) -> str:
    return hashlib.blake2b(before.encode() + name.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _read(line: bytes) -> dict[str, Any]:
    try:
        note = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return note if isinstance(note, dict) else {}


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
