"""How glibc keeps memory: it is told to give back what is not needed any more."""

import contextlib
import ctypes

_KEPT = 2**20  # bytes; the body of a large request is less, and is not to be taken from the system anew each time
_OPTIONS = {-1: _KEPT, -3: _KEPT, -8: 1}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX of mallopt(3)


def give_memory_back() -> None:
    """Makes a worker smaller under load: one arena for all threads, and blocks beyond a megabyte never kept.

    Nearly all of the work is done by one thread, so that arenas of their own gain the others nothing. Where the C
    library is another one, nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for option, value in _OPTIONS.items():
            library.mallopt(option, value)


def return_freed() -> None:
    """Gives back what was needed for a while and has been freed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
