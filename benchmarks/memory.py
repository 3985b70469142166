"""Resident memory of a server's processes, as the kernel counts it."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import processes_of

_LEAST_KB = 20_000  # a smaller process of a server's is a helper, such as Python's resource tracker, and no worker


@dataclass(frozen=True)
class Memory:
    """Of one process, in MB of 10⁶ bytes: all that is resident, and its share of what it shares."""

    rss_mb: float
    pss_mb: float


def worker_memory(session: int) -> list[Memory]:
    """The memory of each larger process of a server, by the id of the session that it was started in."""
    found = []
    for process in processes_of(session):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:  # it has just ended
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
        if sizes.get("Rss", 0) > _LEAST_KB:
            found.append(Memory(sizes["Rss"] * 1024 / 1e6, sizes["Pss"] * 1024 / 1e6))
    return found
