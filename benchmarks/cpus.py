"""Which CPU serves and which one asks, so that neither takes from the other."""

import os
from dataclasses import dataclass

from benchmarks.errors import BenchmarkError


@dataclass(frozen=True)
class Cpus:
    """Two CPUs, by number."""

    server: int
    generator: int

    @property
    def both(self) -> str:
        """As `taskset -c` takes them."""
        return f"{self.server},{self.generator}"


def pinned(cpus: int | str, command: list[str]) -> list[str]:
    """A command that runs on these CPUs alone."""
    return ["taskset", "-c", str(cpus), *command]


def choose_cpus() -> Cpus:
    """The first two CPUs that this process may use.

    Raises:
        BenchmarkError: there is only one.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchmarkError("two CPUs are needed, one that serves and one that asks, and there is one")
    return Cpus(usable[0], usable[1])
