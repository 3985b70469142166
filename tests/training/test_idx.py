"""Reading IDX documents, gzipped or not."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from tests.training.conftest import idx
from training.errors import DataError
from training.idx import decompress, parse

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, array_shapes(max_dims=4, max_side=5)))
def test_parse_gives_back_what_was_written(values: NDArray[np.uint8]) -> None:
    """Shape and values of any array survive being written as the format says."""
    np.testing.assert_array_equal(parse(idx(values), "x", values.ndim), values, strict=True)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, len(idx(ARRAY)) - 1))
def test_a_document_cut_anywhere_is_refused(length: int) -> None:
    """However short it is cut, within magic number, header or values, one sentence names the file."""
    with pytest.raises(DataError, match=r"^some/file (is truncated|holds \d+ values, but its header says 24)[^\n]*$"):
        parse(idx(ARRAY)[:length], "some/file", 3)


def test_surplus_values_are_refused() -> None:
    """A document that is longer than its header says is not read either."""
    with pytest.raises(DataError, match=r"^x holds 25 values, but its header says 24$"):
        parse(idx(ARRAY) + b"\0", "x", 3)


@pytest.mark.parametrize("magic", ["00000801", "00000d03", "01000803", "1f8b0808"])
def test_another_magic_number_is_refused(magic: str) -> None:
    """Another number of axes, another type of values, or no IDX at all: the message has both numbers."""
    with pytest.raises(DataError, match=rf"^x has the magic number 0x{magic}, not 0x00000803$"):
        parse(bytes.fromhex(magic) + idx(ARRAY)[4:], "x", 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_decompress_takes_both_forms(tmp_path: Path, pack: type[bytes]) -> None:
    """A file's content is the same, gzipped or not."""
    (tmp_path / "file").write_bytes(pack(idx(ARRAY)))
    assert decompress(tmp_path / "file") == idx(ARRAY)


def test_a_gzip_stream_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """From its second byte to its last but one, a cut stream gives one sentence that names the file."""
    stream = gzip.compress(idx(ARRAY))
    for length in range(2, len(stream)):
        (tmp_path / "file.gz").write_bytes(stream[:length])
        with pytest.raises(DataError, match=r"^[^\n]*file\.gz is truncated or damaged: [^\n]*$"):
            decompress(tmp_path / "file.gz")


@pytest.mark.parametrize("place", [12, -8, -4])
def test_a_damaged_gzip_stream_is_refused(tmp_path: Path, place: int) -> None:
    """A wrong byte in the data, the checksum or the length is noticed."""
    stream = bytearray(gzip.compress(idx(ARRAY)))
    stream[place] ^= 0xFF
    (tmp_path / "file.gz").write_bytes(stream)
    with pytest.raises(DataError, match=r"file\.gz is truncated or damaged"):
        decompress(tmp_path / "file.gz")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A missing file, and a folder in a file's place, give one sentence with the system's reason."""
    with pytest.raises(DataError, match=r"none cannot be read: No such file or directory$"):
        decompress(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory$"):
        decompress(tmp_path)
