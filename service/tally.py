"""Counts that several worker processes add to, each in a row of its own, and that any of them can read in sum.

A row lies in memory that the processes share. Its owner alone writes to it, so nothing has to be locked on the way of a
request, and adding costs what adding to an array costs. When a worker dies its row stays, and the next worker goes on
counting in it: a counter never falls.
"""

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.errors import DigitscopeError

SLOTS = 2**15  # float64 a row: whole numbers are exact to 2^53; pages that nothing is counted in are never made
_ROW = SLOTS * 8  # bytes


class Tally:
    """One process' row of `SLOTS` counts, and the sum over all rows.

    Attributes:
        own: this process' row, float64 (SLOTS,), to be added to.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Takes the first free row of a file that `shared_tally` made; without one, a row that nobody shares.

        Raises:
            DigitscopeError: every row is taken.
        """
        if path is None:
            self._memory = mmap.mmap(-1, _ROW)
            row = 0
        else:
            self._file = path.open("r+b", buffering=0)  # kept open: closing it would give up the lock
            self._memory = mmap.mmap(self._file.fileno(), 0)
            row = self._claim()
        self.own = memoryview(self._memory).cast("d")[row * SLOTS : (row + 1) * SLOTS]
        self._rows: NDArray[np.float64] = np.frombuffer(self._memory, np.float64).reshape(-1, SLOTS)

    def _claim(self) -> int:
        # The kernel lets go of a lock when its process ends, however it ends.
        for row in range(len(self._memory) // _ROW):
            self._file.seek(row * _ROW)
            try:
                os.lockf(self._file.fileno(), os.F_TLOCK, 1)
            except OSError:
                continue
            return row
        raise DigitscopeError("more workers run than there are rows to count in")

    def total(self) -> NDArray[np.float64]:
        """The sum over all rows, float64 (SLOTS,)."""
        total: NDArray[np.float64] = self._rows.sum(axis=0)
        return total

    def column(self, slot: int) -> list[float]:
        """One count of each row."""
        column: list[float] = self._rows[:, slot].tolist()
        return column


def shared_tally(rows: int) -> Path:
    """A new file of so many empty rows, for the workers of one service; whoever made it removes it.

    Raises:
        OSError: there is no place for temporary files.
    """
    descriptor, name = tempfile.mkstemp(prefix="digitscope-", suffix=".tally")
    os.truncate(descriptor, rows * _ROW)
    os.close(descriptor)
    return Path(name)
