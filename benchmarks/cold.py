"""Cold starts: from the start of a server's process to its first right answer."""

import time

from benchmarks.form import Form
from benchmarks.server import Server, run_server, wait_for_answer

_PAUSE = 0.002  # seconds between two attempts: the grain of what is measured


def cold_start(server: Server, form: Form) -> float:
    """Seconds to the first right answer; the files are in the page cache, as they are after any earlier start."""
    start = time.perf_counter()
    with run_server(server) as running:
        wait_for_answer(running, form, pause=_PAUSE)
        return time.perf_counter() - start
