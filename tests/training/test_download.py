"""Downloads, from a mirror on this machine that misbehaves as asked."""

from pathlib import Path

import pytest

from tests.training.mirror import CONTENT, Mirror, dead_mirror
from training.download import download
from training.errors import DataError


def test_a_file_comes_whole_under_its_name(mirror: Mirror, tmp_path: Path) -> None:
    """The folder is made, the content is the mirror's, and nothing else is left in the folder."""
    path = download("file", [mirror.url("range") + "/"], tmp_path / "new")
    assert path == tmp_path / "new" / "file"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert mirror.asked == [("/range/file", None)]


def test_mirrors_are_tried_in_turn(mirror: Mirror, tmp_path: Path) -> None:
    """A mirror where nobody listens and one without the file are passed over for the third."""
    path = download("file", [dead_mirror(), mirror.url("absent"), mirror.url("plain")], tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked for asked, _ in mirror.asked] == ["/absent/file", "/plain/file"]


def test_every_mirror_s_reason_is_told(mirror: Mirror, tmp_path: Path) -> None:
    """Where all fail, one sentence names the file and each mirror with its reason, and no file appears."""
    mirrors = [mirror.url("absent"), mirror.url("nowhere"), mirror.url("never")]
    with pytest.raises(DataError, match=r"^file could not be downloaded \([^\n]*\)$") as caught:
        download("file", mirrors, tmp_path)
    said = str(caught.value)
    assert all(mirror in said for mirror in mirrors)
    assert said.count("'404 ") == 2
    assert said.count("'416 ") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_cut_download_goes_on_where_it_ended(mirror: Mirror, tmp_path: Path) -> None:
    """A connection cut in the middle leaves no file but a partial one, of which a second call asks only the rest."""
    with pytest.raises(DataError, match="could not be downloaded"):
        download("file", [mirror.url("cut")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.partial"]
    part = (tmp_path / "file.partial").read_bytes()
    assert 0 < len(part) <= len(CONTENT) // 2
    assert CONTENT.startswith(part)

    path = download("file", [mirror.url("range")], tmp_path)
    assert mirror.asked[-1] == ("/range/file", f"bytes={len(part)}-")
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_the_next_mirror_goes_on_within_one_call(mirror: Mirror, tmp_path: Path) -> None:
    """What one mirror delivered before it failed is not asked of the next one again."""
    path = download("file", [mirror.url("cut"), mirror.url("range")], tmp_path)
    assert path.read_bytes() == CONTENT
    (first, _), (second, wanted) = mirror.asked
    assert (first, second) == ("/cut/file", "/range/file")
    assert wanted and int(wanted.removeprefix("bytes=").removesuffix("-")) > 0


def test_a_mirror_that_knows_no_ranges_sends_the_whole(mirror: Mirror, tmp_path: Path) -> None:
    """The whole replaces the beginning that was there, and is not added to it."""
    (tmp_path / "file.partial").write_bytes(CONTENT[:1000])
    path = download("file", [mirror.url("plain")], tmp_path)
    assert mirror.asked == [("/plain/file", "bytes=1000-")]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("surplus", [b"", b"more"])
def test_a_partial_file_with_nothing_to_add_starts_anew(mirror: Mirror, tmp_path: Path, surplus: bytes) -> None:
    """A partial file as long as the mirror's, or longer, is nobody's beginning: the whole is asked for."""
    (tmp_path / "file.partial").write_bytes(bytes(len(CONTENT)) + surplus)
    path = download("file", [mirror.url("range")], tmp_path)
    assert path.read_bytes() == CONTENT
    assert [wanted is None for _, wanted in mirror.asked] == [False, True]
