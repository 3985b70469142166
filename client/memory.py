"""How much memory is kept that is not needed: little, so that a long run needs no more than a short one.

Where the C library is another than glibc, it does as it likes.
"""

import contextlib
import ctypes

import pyarrow as pa

_KEPT = 128 * 1024  # bytes: less than one group of digits, which is thus given back at once
_OPTIONS = {-1: _KEPT, -3: _KEPT, -8: 1}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX of mallopt(3)


def keep_little() -> None:
    """Has the C library and Arrow give back what is freed, and threads share one arena."""
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for option, value in _OPTIONS.items():
            library.mallopt(option, value)


def give_back() -> None:
    """Gives back what is free between what is used."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
