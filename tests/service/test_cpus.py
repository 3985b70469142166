"""The CPUs of a container, read from control groups made here."""

import os
from pathlib import Path

import pytest

from service.cpus import available_cpus


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on eight CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def version_2(folder: Path, text: str) -> None:
    """The limit of a control group of version 2."""
    (folder / "cpu.max").write_text(text)


def version_1(folder: Path, quota: str, period: str) -> None:
    """The limit of a control group of version 1."""
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu" / "cpu.cfs_period_us").write_text(period)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("150000 50000\n", 3),
    ],
)
def test_a_quota_of_version_2_counts_in_whole_cpus(tmp_path: Path, text: str, cpus: int) -> None:
    """Rounded down, at least one, and no more than the process may run on."""
    version_2(tmp_path, text)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("quota", "period", "cpus"), [("-1\n", "100000\n", 8), ("300000\n", "100000\n", 3), ("1000\n", "100000\n", 1)]
)
def test_a_quota_of_version_1_counts_alike(tmp_path: Path, quota: str, period: str, cpus: int) -> None:
    """−1 stands for no limit."""
    version_1(tmp_path, quota, period)
    assert available_cpus(tmp_path) == cpus


def test_version_2_goes_before_version_1(tmp_path: Path) -> None:
    """Where both are mounted the newer one counts, and where its file cannot be understood the older one."""
    version_1(tmp_path, "100000", "100000")
    version_2(tmp_path, "300000 100000")
    assert available_cpus(tmp_path) == 3
    version_2(tmp_path, "")
    assert available_cpus(tmp_path) == 1


def test_without_a_control_group_affinity_alone_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no such thing as affinity, as on a Mac, and where not even the number of CPUs is known."""
    assert available_cpus(tmp_path) == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cpus(tmp_path) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus(tmp_path) == 1


def test_this_process_has_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real control group and the real affinity, no more than the machine has."""
    monkeypatch.undo()
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
