"""The folder of a job before it begins: what may be written to, and what may be emptied; by `pytest -m ray`."""

from pathlib import Path
from typing import Any

import pytest

from client.errors import RunError
from client.outputs.columns import Columns
from client.prediction import Model

pytestmark = pytest.mark.ray


def _parts(folder: str | Path) -> Any:
    from client.distributed.parts import Parts  # noqa: PLC0415 — it needs Ray

    return Parts(str(folder), Columns(Model("digits", "2", "0" * 64, {})))


def test_a_folder_is_made_or_taken_empty(tmp_path: Path) -> None:
    """One that is not there, with folders above it that are not, and one with nothing in it."""
    _parts(tmp_path / "a" / "b").prepare(restart=False)
    assert (tmp_path / "a" / "b").is_dir()
    _parts(tmp_path / "a" / "b").prepare(restart=False)


def test_an_unfinished_job_is_emptied_only_if_asked(tmp_path: Path) -> None:
    """Its parts, whole or not, stay unless --restart is given."""
    (tmp_path / "part-00000.parquet").touch()
    (tmp_path / "_unfinished").mkdir()
    (tmp_path / "_unfinished" / "part-00001.parquet.0").touch()
    with pytest.raises(RunError, match="an unfinished job is there: --restart empties"):
        _parts(tmp_path).prepare(restart=False)
    assert len(list(tmp_path.iterdir())) == 2
    _parts(tmp_path).prepare(restart=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told"), [("_SUCCESS", "there already, and finished"), ("mine.parquet", "has other files in it")]
)
def test_nothing_else_is_taken_away(name: str, told: str, tmp_path: Path) -> None:
    """A finished job's folder and somebody's own stay as they are, --restart or not."""
    (tmp_path / "part-00000.parquet").touch()
    (tmp_path / name).touch()
    for restart in (False, True):
        with pytest.raises(RunError, match=told):
            _parts(tmp_path).prepare(restart=restart)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file in its place, and an address of no storage that is known, are told."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(RunError, match="file"):
        _parts(tmp_path / "file").prepare(restart=False)
    with pytest.raises(RunError, match="cannot be written to"):
        _parts("nothing://a").prepare(restart=False)
