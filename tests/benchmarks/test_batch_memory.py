"""The benchmark of the batch client's memory: that its inputs are what they are called, and how its table reads."""

import tarfile
from pathlib import Path

import numpy as np

from benchmarks.batch_memory import Peaks, write_archive, write_array, write_folders, write_table


def test_inputs_have_as_many_digits_as_are_asked_for(tmp_path: Path) -> None:
    """An array, folders and an archive of 1,003, beyond the thousand originals; each archived one is a file."""
    assert np.load(write_array(tmp_path, 1003)).shape == (1003, 28, 28)
    with tarfile.open(write_archive(tmp_path, 1003)) as archive:
        assert [member.isfile() and member.size > 0 for member in archive] == [True] * 1003
    place = tmp_path / "folders"
    place.mkdir()
    assert len(list(write_folders(place, 1003).glob("*/*.png"))) == 1003
    assert (place / "0001" / "002.png").read_bytes() == (place / "0000" / "002.png").read_bytes()


def test_the_table_has_the_ratio_of_many_to_few() -> None:
    """A row for each kind of input."""
    table = write_table([Peaks("--local", 100.0, 104.0)], 10_000, 1_000_000, {"machine": "one"})
    assert "| --local | 100 | 104 | 1.040 |" in table and "over 10,000 and over 1,000,000" in table
    assert "- machine: one" in table
