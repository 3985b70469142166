"""The CPUs that this process may use, which in a container are fewer than the host has, and what they can do."""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_CPUINFO = Path("/proc/cpuinfo")


def _groups(root: Path, membership: Path) -> list[Path]:
    """The control group of this process and those above it, as folders, where they can be seen."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    # "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1
    paths = {kinds: path.lstrip("/") for _, kinds, path in (line.split(":", 2) for line in lines)}
    folders = []
    for kinds, path in paths.items():
        if kinds == "" or "cpu" in kinds.split(","):
            own = (root / path) if kinds == "" else (root / "cpu" / path)
            folders += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return [*folders, root / "cpu", root]


def _quota(group: Path) -> float:
    """CPUs granted by one control group (of version 2 or 1), infinite where none is set."""
    try:
        limit, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    return math.inf if limit in ("max", "-1") else int(limit) / int(period)


def available_cpus(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Whole CPUs that this process may use, by affinity and control groups, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quota(group) for group in _groups(cgroups, membership))
    return max(1, math.floor(min(affinity, quota)))


def cpu_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """What the CPUs can do, in Linux's words, such as "avx512f"; nothing where the system does not tell it so."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            told = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        told = ""
    return frozenset(told.partition(":")[2].split())
