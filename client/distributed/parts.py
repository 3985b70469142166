"""Where a job's rows go: a folder of Parquet files, here or in object storage by fsspec.

`part-00000.parquet` and so on have the rows in the order of the inputs. `_SUCCESS` comes last, when all of them are
there: without it the folder is of a job that has not finished. Readers of such folders pass over names that begin so
(Apache Hadoop, "FileOutputCommitter").
"""

import re
import uuid
from collections.abc import Iterable
from typing import Any

import fsspec
import orjson
from fsspec.implementations.local import LocalFileSystem
from ray.data import Datasink

from client.errors import RunError
from client.outputs.columns import Columns
from client.outputs.formats import WRITERS
from client.summary import Summary, summarise

_DONE = "_SUCCESS"
_UNFINISHED = "_unfinished"  # the folder of parts that are being written, where a file can be put into its place
_PART = re.compile(r"part-\d{5,}\.parquet")
_ROWS, _BYTES = 65_536, 64 * 2**20  # of a part, about


class Parts(Datasink):
    """Writes the parts, each by a task of its own, which may be done again: a part's name and content stay the same.

    Attributes:
        summary: of all rows, when the job is done.
    """

    def __init__(self, folder: str, columns: Columns) -> None:
        self.summary = Summary()
        self._folder = folder
        self._schema = columns.schema
        width = self._schema.types[-1].list_size * 4 if columns.layer else 1
        self._rows = max(1, min(_ROWS, _BYTES // width))

    @property
    def min_rows_per_write(self) -> int:
        """How many rows Ray gathers for a part."""
        return self._rows

    def prepare(self, *, restart: bool) -> None:
        """Sees to it that the folder is there and empty; `restart` empties it of the parts of an unfinished job.

        Raises:
            RunError: there is something in it that is not to be written over, or it cannot be had.
        """
        try:
            system, path = fsspec.core.url_to_fs(self._folder)
            system.invalidate_cache()
            found = {each.rstrip("/").rpartition("/")[2]: each for each in self._names(system, path)}
            if _DONE in found:
                raise RunError(f"{self._folder} is there already, and finished")
            if not all(_PART.fullmatch(name) or name == _UNFINISHED for name in found):
                raise RunError(f"{self._folder} is there already, and has other files in it")
            if found and not restart:
                raise RunError(f"an unfinished job is there: --restart empties {self._folder} and begins anew")
            for each in found.values():
                system.rm(each, recursive=True)
            system.makedirs(path, exist_ok=True)
        except RunError:
            raise
        except Exception as error:  # of whatever storage it is
            raise RunError(f"{self._folder} cannot be written to: {error}") from error

    def write(self, blocks: Iterable[Any], ctx: Any) -> tuple[str, Summary]:
        """Writes one part, and gives its name and the counts of its rows; this is done by Ray's workers."""
        whole = [block for block in blocks if block.num_rows]  # what is empty may have no columns
        batches = [batch for block in whole for batch in block.cast(self._schema).to_batches()]
        name = f"part-{ctx.task_idx:05}.parquet"
        system, path = fsspec.core.url_to_fs(self._folder)
        if isinstance(system, LocalFileSystem):  # elsewhere a file is there when it is whole
            place = f"{path}/{_UNFINISHED}/{name}.{uuid.uuid4().hex}"
            system.makedirs(f"{path}/{_UNFINISHED}", exist_ok=True)
            self._write(system, place, batches)
            system.mv(place, f"{path}/{name}")
        else:
            self._write(system, f"{path}/{name}", batches)
        return name, summarise(batches)

    def on_write_complete(self, write_result: Any) -> None:
        """Finishes the folder, when all parts are there; this is done where the job was begun.

        Raises:
            RunError: a part was counted twice.
        """
        parts = sorted(name for name, _ in write_result.write_returns)
        if len(set(parts)) < len(parts):
            raise RunError("a part of the output was written by two tasks")
        for _, summary in sorted(write_result.write_returns, key=lambda each: each[0]):
            self.summary.add(summary)
        system, path = fsspec.core.url_to_fs(self._folder)
        if system.exists(f"{path}/{_UNFINISHED}"):
            system.rm(f"{path}/{_UNFINISHED}", recursive=True)
        content = {"rows": self.summary.rows, "failed": self.summary.failed, "parts": parts}
        system.pipe_file(f"{path}/{_DONE}", orjson.dumps(content))

    def _write(self, system: Any, path: str, batches: list[Any]) -> None:
        with system.open(path, "wb") as file:
            WRITERS[".parquet"](file, self._schema, lambda: batches)

    @staticmethod
    def _names(system: Any, path: str) -> list[str]:
        try:
            found: list[str] = system.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return [each for each in found if each.rstrip("/") != path.rstrip("/")]
