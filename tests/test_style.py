"""What holds for the whole repository: directions of imports, docstrings of tests, nothing of one machine alone."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
_PUBLIC = {"pypi.org", "download.pytorch.org"}


def tracked() -> list[Path]:
    """Every file under version control that is text, of ours and not brought along."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    if listed.returncode:
        pytest.skip("this is no clone")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and "/vendor/" not in name]
    return [path for path in files if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_says_what_it_proves(path: Path) -> None:
    """Each test function has a docstring that begins with a sentence."""
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert found
    for function in found:
        said = (ast.get_docstring(function) or "").partition("\n\n")[0]
        assert len(said) > 20 and said.endswith("."), f"{function.name} does not say what it proves"


def test_imports_run_one_way() -> None:
    """Every contract of pyproject.toml holds: no torch in the service, and no import against the layers."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert told.returncode == 0, told.stdout
    kept = re.search(r"Contracts: (\d+) kept, 0 broken", told.stdout)
    assert kept and int(kept[1]) == (ROOT / "pyproject.toml").read_text().count("[[tool.importlinter.contracts]]") > 0


def test_no_file_names_a_place_of_one_machine() -> None:
    """No absolute path of somebody's home or workplace, and no package index or image registry but the public ones."""
    homes = re.compile(r"(?<![\w.}])/(?:work|root|home|Users|workspace|mnt)/")
    index = re.compile(r"(?:index[-_]url|find[-_]links|registry)\W+(?:https?|file)://([\w.-]*)", re.IGNORECASE)
    image = re.compile(r"^\s*(?:FROM|ARG \w*IMAGE=|image:)\s*[\w-]+(?:[.:][\w.:-]*)/\S+", re.MULTILINE)
    files = tracked()
    assert ROOT / "pyproject.toml" in files
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not homes.search(text), f"{path} has {homes.search(text)}"
        assert set(index.findall(text)) <= _PUBLIC, f"{path} has {index.findall(text)}"
        assert not image.search(text), f"{path} has {image.search(text)}"
