"""What a server holds on to: the memory, open files and threads of its processes, as the kernel counts them."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.memory import worker_memory
from benchmarks.processes import processes_of


@dataclass(frozen=True)
class Vitals:
    """Of all processes of a server together.

    Attributes:
        processes: their ids, rising.
        pss_mb: resident memory in MB of 10⁶ bytes, what they share counted once.
        largest_mb: all that is resident of the largest of them.
        files: open descriptors, connections among them.
    """

    processes: tuple[int, ...]
    pss_mb: float
    largest_mb: float
    files: int
    threads: int


def vitals_of(session: int) -> Vitals:
    """Those of a server, by the id of the session that it was started in."""
    processes = sorted(processes_of(session))
    memory = worker_memory(session)
    return Vitals(
        processes=tuple(processes),
        pss_mb=sum(each.pss_mb for each in memory),
        largest_mb=max((each.rss_mb for each in memory), default=0.0),
        files=sum(_entries(process, "fd") for process in processes),
        threads=sum(_entries(process, "task") for process in processes),
    )


def _entries(process: int, folder: str) -> int:
    try:
        return len(list(Path(f"/proc/{process}/{folder}").iterdir()))
    except OSError:  # it has just ended
        return 0
