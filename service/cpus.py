"""The CPUs that this process may use, which in a container are fewer than the host has."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def _quota(cgroup: Path) -> float:
    """CPUs granted by the control group (version 2, else 1), infinite where none is set."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    return math.inf if limit in ("max", "-1") else int(limit) / int(period)


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Whole CPUs that this process may use, by affinity and control group, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(affinity, _quota(cgroup))))
