"""The CPUs of a container, read from control groups made here."""

import os
from pathlib import Path

import pytest

from service.cpus import available_cpus, cpu_flags


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on eight CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """Where control groups are mounted, without any yet."""
    folder = tmp_path / "cgroup"
    folder.mkdir()
    return folder


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    """The list of this process's groups: the root of version 2, as in a container of its own namespace."""
    path = tmp_path / "membership"
    path.write_text("0::/\n")
    return path


def version_2(folder: Path, text: str) -> None:
    """The limit of a control group of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(text)


def version_1(folder: Path, quota: str, period: str) -> None:
    """The limit of a control group of version 1, below the controller's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu.cfs_period_us").write_text(period)


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
def test_a_quota_of_version_2_counts_in_whole_cpus(groups: Path, membership: Path, text: str, cpus: int) -> None:
    """Rounded down, at least one, and no more than the process may run on."""
    version_2(groups, text)
    assert available_cpus(groups, membership) == cpus


@pytest.mark.parametrize(
    ("quota", "period", "cpus"), [("-1\n", "100000\n", 8), ("300000\n", "100000\n", 3), ("1000\n", "100000\n", 1)]
)
def test_a_quota_of_version_1_counts_alike(groups: Path, membership: Path, quota: str, period: str, cpus: int) -> None:
    """−1 stands for no limit; it counts where the list has no line of version 1 too."""
    version_1(groups / "cpu", quota, period)
    for lines in ("0::/\n", "4:cpu,cpuacct:/\n0::/\n", ""):
        membership.write_text(lines)
        assert available_cpus(groups, membership) == cpus


def test_of_both_versions_the_smaller_quota_counts(groups: Path, membership: Path) -> None:
    """Whichever version has it; and where one's file cannot be understood, the other's counts."""
    membership.write_text("4:cpu,cpuacct:/\n0::/\n")
    version_1(groups / "cpu", "200000", "100000")
    for text, cpus in (("300000 100000", 2), ("100000 100000", 1), ("max 100000", 2), ("", 2)):
        version_2(groups, text)
        assert available_cpus(groups, membership) == cpus
    version_1(groups / "cpu", "-1", "100000")
    version_2(groups, "300000 100000")
    assert available_cpus(groups, membership) == 3


NESTED = "user.slice/digit scope:1.service"  # spaces and colons are allowed in names


@pytest.mark.parametrize(
    ("own", "parent", "root", "cpus"),
    [(2, 4, 6, 2), (4, 2, 6, 2), (6, 4, 2, 2), (3, None, None, 3), (None, 3, None, 3), (None, None, 3, 3)],
)
def test_the_smallest_quota_on_the_way_down_counts_in_version_2(
    groups: Path, membership: Path, own: int | None, parent: int | None, root: int | None, cpus: int
) -> None:
    """A nested group's, its parent's or the root's, where the others are larger or none; a sister's does not."""
    membership.write_text(f"1:name=systemd:/elsewhere\n0::/{NESTED}\n")
    nested = groups / NESTED
    for folder, quota in ((nested, own), (nested.parent, parent), (groups, root)):
        version_2(folder, "max 100000" if quota is None else f"{quota}00000 100000")
    for sister in (nested.with_name("another.service"), groups / "elsewhere"):
        version_2(sister, "100000 100000")
    assert available_cpus(groups, membership) == cpus


@pytest.mark.parametrize("kinds", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize(
    ("own", "parent", "root", "cpus"),
    [(2, 4, 6, 2), (4, 2, 6, 2), (6, 4, 2, 2), (3, None, None, 3), (None, 3, None, 3), (None, None, 3, 3)],
)
def test_the_smallest_quota_on_the_way_down_counts_in_version_1(
    groups: Path, membership: Path, kinds: str, own: int | None, parent: int | None, root: int | None, cpus: int
) -> None:
    """It is found by the line of the cpu controller, alone or with others, and by no other controller's."""
    membership.write_text(f"7:cpuset:/elsewhere\n4:{kinds}:/{NESTED}\n3:memory:/elsewhere\n0::/\n")
    nested = groups / "cpu" / NESTED
    for folder, quota in ((nested, own), (nested.parent, parent), (groups / "cpu", root)):
        version_1(folder, "-1" if quota is None else f"{quota}00000", "100000")
    version_1(groups / "cpu" / "elsewhere", "100000", "100000")
    assert available_cpus(groups, membership) == cpus


def test_a_group_that_cannot_be_seen_counts_by_those_that_can(groups: Path, membership: Path) -> None:
    """As in a container that the host's names reach but not its folders: the root that it sees is its own group."""
    membership.write_text("4:cpu,cpuacct:/docker/0123abcd\n0::/../../system.slice\n")
    assert available_cpus(groups, membership) == 8
    version_1(groups / "cpu", "300000", "100000")
    assert available_cpus(groups, membership) == 3
    version_2(groups, "200000 100000")
    assert available_cpus(groups, membership) == 2


def test_without_a_membership_file_the_root_counts(groups: Path, tmp_path: Path) -> None:
    """Of either version, and of nothing below it."""
    missing = tmp_path / "missing"
    version_2(groups / "nested", "100000 100000")
    version_1(groups / "cpu" / "nested", "100000", "100000")
    assert available_cpus(groups, missing) == 8
    version_1(groups / "cpu", "300000", "100000")
    assert available_cpus(groups, missing) == 3
    version_2(groups, "200000 100000")
    assert available_cpus(groups, missing) == 2


def test_without_a_control_group_affinity_alone_counts(
    groups: Path, membership: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is no such thing as affinity, as on a Mac, and where not even the number of CPUs is known."""
    assert available_cpus(groups, membership) == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cpus(groups, membership) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus(groups, membership) == 1


def test_this_process_has_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real control group and the real affinity, no more than the machine has."""
    monkeypatch.undo()
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


def test_what_the_cpus_can_do_is_what_linux_says(tmp_path: Path) -> None:
    """The flags of the first CPU, as /proc/cpuinfo lists them; none where there is no such file, or no such line."""
    told = tmp_path / "cpuinfo"
    assert cpu_flags(told) == frozenset()
    told.write_text("processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: fp asimd\n")
    assert cpu_flags(told) == frozenset()
    told.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx512f\nbugs\t\t: x\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert cpu_flags(told) == {"fpu", "sse2", "avx512f"}
