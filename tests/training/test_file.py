"""Files that are there whole or not at all."""

import os
from pathlib import Path

import pytest

from training.file import replace_file


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the new one is on the disk the old one is there whole, and a failure leaves it so."""
    path = tmp_path / "some.bin"
    replace_file(path, b"old")

    def fail(_: int) -> None:
        assert path.read_bytes() == b"old"
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    replace_file(path, b"new")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("some.bin", b"new")]
