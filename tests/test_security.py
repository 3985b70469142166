"""SECURITY.md: what it names as proof is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "tests" / "service"


def functions(path: Path) -> set[str]:
    """The names of the functions of a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_proof_is_there() -> None:
    """Each promise has one, and each file and test that is named exists; … stands for the file before."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promises = text.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in promises.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 15
    checked = 0
    for _, proof in rows:
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
