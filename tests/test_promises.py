"""SECURITY.md and PROMISES.md: what they name as proof is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "tests" / "service"


def functions(path: Path) -> set[str]:
    """The names of the functions of a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def promises(document: Path) -> list[list[str]]:
    """The cells of each promise."""
    text = document.read_text(encoding="utf-8")
    tables = [part for part in re.split(r"\n\n", text) if part.startswith("| promise |")]
    return [line.strip("| ").split(" | ") for table in tables for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    "document", [ROOT / "SECURITY.md", ROOT / "deploy" / "PROMISES.md"], ids=lambda path: path.stem
)
def test_every_proof_is_there(document: Path) -> None:
    """Each promise has one, and each file and test that is named exists; … stands for the file before."""
    rows = promises(document)
    assert len(rows) > 15
    checked = 0
    for _, proof, *_ in rows:
        names = re.findall(r"`([^`]+)`", proof)
        assert names or "ruff" in proof
        before = SERVICE
        for name in names:
            file, _, test = name.partition("::")
            path = before if file == "…" else ROOT / file if (ROOT / file).exists() else SERVICE / file
            assert path.exists(), name
            before = path
            if test:
                assert test in functions(path), name
                checked += 1
    assert checked > 15


def test_every_figure_is_there() -> None:
    """Each page that a figure is from exists, and each number of the figure stands on it."""
    folder = ROOT / "deploy"
    linked = 0
    for *_, figure in promises(folder / "PROMISES.md"):
        for said, page in re.findall(r"\[([^\]]+)\]\(([^)]+\.md)\)", figure):
            text = (folder / page).read_text(encoding="utf-8")
            for number in re.findall(r"\d[\d,.]*\d|\d", said):
                alone = rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)"
                assert re.search(alone, text), f"{number} of '{said}' is not on {page}"
            linked += 1
    assert linked >= 8
