"""Whether a process that is asked over and over has more and more memory: what is freed is given back before a look."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory() -> int:
    """Bytes of the process that lie in memory, when all that can be freed has been (glibc's malloc_trim)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


class Watched:
    """A target that fails when the process has grown since its first thousands of inputs, whatever has grown in it."""

    def __init__(self, target: Callable[[bytes], None], every: int, most: int) -> None:
        """Looks behind every so many inputs; from the first look on it may grow by `most` bytes."""
        self._target = target
        self._every = every
        self._most = most
        self._asked = 0
        self._first: int | None = None

    def __call__(self, data: bytes) -> None:
        """Asks the target.

        Raises:
            AssertionError: the process has grown by more than it may.
        """
        self._target(data)
        self._asked += 1
        if self._asked % self._every == 0:
            self._look()

    def _look(self) -> None:
        now = memory()
        if self._first is None:
            self._first = now
        grown = now - self._first
        said = f"{self._asked:,} inputs: {now / 1e6:.1f} MB, grown by {grown / 1e6:.1f} MB"
        sys.stderr.write(said + "\n")
        if grown > self._most:
            raise AssertionError(f"{said}, and {self._most / 1e6:.0f} MB are allowed")
