"""Counts that several worker processes add to, each in a row of its own, and that any of them can read in sum.

A row lies in memory that the processes share since they were forked. Its owner alone writes to it, so nothing has to be
locked on the way of a request, and adding costs what adding to an array costs. When a worker dies its row stays, and
the worker that replaces it goes on counting there: a counter never falls.
"""

import mmap

import numpy as np
from numpy.typing import NDArray

SLOTS = 2**17  # float64 a row: whole numbers are exact to 2^53; pages that nothing is counted in are never made
_ROW = SLOTS * 8  # bytes


class Tally:
    """One process' row of `SLOTS` counts, and the sum over all rows.

    Attributes:
        own: this process' row, float64 (SLOTS,), to be added to.
    """

    def __init__(self, rows: mmap.mmap | None = None, row: int = 0) -> None:
        """Takes a row of those that `shared_rows` made; without them, one that nobody shares."""
        memory = shared_rows(1) if rows is None else rows
        self.own = memoryview(memory).cast("d")[row * SLOTS : (row + 1) * SLOTS]
        self._rows: NDArray[np.float64] = np.frombuffer(memory, np.float64).reshape(-1, SLOTS)

    def total(self, slots: int = SLOTS) -> NDArray[np.float64]:
        """The sum over all rows of the first slots, float64 (slots,)."""
        total: NDArray[np.float64] = self.rows(slots).sum(axis=0)
        return total

    def rows(self, slots: int = SLOTS) -> NDArray[np.float64]:
        """The first slots of each row, float64 (rows, slots), not to be written to."""
        return self._rows[:, :slots]

    def column(self, slot: int) -> list[float]:
        """One count of each row."""
        column: list[float] = self._rows[:, slot].tolist()
        return column


def shared_rows(count: int) -> mmap.mmap:
    """So many empty rows, which this process shares with those that are forked from it later."""
    return mmap.mmap(-1, count * _ROW)
