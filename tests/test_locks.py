"""What the images install is locked: each package by its version and by the hashes of its files."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "deploy" / "locks"


def pins(lock: str) -> Iterator[tuple[Requirement, int]]:
    """The packages of a lock, each with how many hashes it has."""
    text = (LOCKS / f"{lock}.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        stated = line.partition("#")[0].strip()
        if stated:
            requirement, *hashes = stated.split("--hash=sha256:")
            assert all(len(each.strip()) == 64 for each in hashes)
            yield Requirement(requirement), len(hashes)


def wanted(lock: str) -> list[Requirement]:
    """What is asked for: by the project with the extras of an image, or by what the build needs."""
    if (LOCKS / f"{lock}.in").exists():
        lines = (LOCKS / f"{lock}.in").read_text().splitlines()
        return [Requirement(line) for line in lines if not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(each) for each in (*project["dependencies"], *extras[lock], *extras["grpc"], *extras["traces"])]


@pytest.mark.parametrize("lock", ["build", "cpu", "gpu"])
def test_a_lock_holds_what_is_asked_for_now(lock: str) -> None:
    """Each package that is asked for is there, at one version a platform, which is within what is asked for."""
    found: dict[str, list[str]] = {}
    for pin, hashes in pins(lock):
        assert hashes, f"{pin.name} has no hash"
        assert len(pin.specifier) == 1 and next(iter(pin.specifier)).operator == "=="
        found.setdefault(pin.name, []).append(next(iter(pin.specifier)).version)
    for requirement in wanted(lock):
        versions = found[requirement.name.lower()]
        assert all(requirement.specifier.contains(version) for version in versions), f"make lock: {requirement}"


@pytest.mark.parametrize("lock", ["build", "cpu", "gpu"])
def test_a_lock_names_no_place_to_fetch_from(lock: str) -> None:
    """Where packages come from is the user's own matter: no address and no index stands in the file."""
    text = (LOCKS / f"{lock}.txt").read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_the_two_runtimes_are_never_in_one_image() -> None:
    """ONNX Runtime's CPU and GPU packages install the same files."""
    for lock, other in (("cpu", "onnxruntime-gpu"), ("gpu", "onnxruntime")):
        assert other not in {pin.name for pin, _ in pins(lock)}
