"""Downloads, from a mirror on this machine that misbehaves as asked."""

import re
from pathlib import Path

import httpx
import pytest

from tests.training.mirror import CONTENT, PAGE, Mirror, dead_mirror
from training.download import download
from training.errors import DataError


def right(path: Path) -> None:
    """Accepts the mirror's content and no other."""
    if path.read_bytes() != CONTENT:
        raise DataError(f"{path.stat().st_size} bytes are not the file")


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_under_its_name(mirror: Mirror, tmp_path: Path) -> None:
    """The folder is made, the content is the mirror's, and nothing else is left in the folder."""
    path = download("file", [mirror.url("range") + "/"], tmp_path / "new", right)
    assert path == tmp_path / "new" / "file"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert mirror.asked == [("/range/file", None)]


def test_the_file_is_checked_before_it_has_its_name(mirror: Mirror, tmp_path: Path) -> None:
    """The check sees the whole content in the first mirror's partial file, once, while no file has the name yet."""
    seen: list[tuple[str, bytes, list[str]]] = []
    download(
        "file",
        [mirror.url("range")],
        tmp_path,
        lambda path: seen.append((path.name, path.read_bytes(), names(tmp_path))),
    )
    assert seen == [("file.0.partial", CONTENT, ["file.0.partial"])]


def test_mirrors_are_tried_in_turn(mirror: Mirror, tmp_path: Path) -> None:
    """A mirror where nobody listens and one without the file are passed over for the third; no more are asked."""
    mirrors = [dead_mirror(), mirror.url("absent"), mirror.url("plain"), mirror.url("range")]
    path = download("file", mirrors, tmp_path, right)
    assert path.read_bytes() == CONTENT
    assert [asked for asked, _ in mirror.asked] == ["/absent/file", "/plain/file"]
    assert names(tmp_path) == ["file"]


def test_every_mirror_s_reason_is_told(mirror: Mirror, tmp_path: Path) -> None:
    """Where all fail, one sentence names the file and each mirror with its reason, and no file appears."""
    mirrors = [mirror.url("absent"), mirror.url("nowhere"), mirror.url("never")]
    with pytest.raises(DataError, match=r"^file could not be downloaded \([^\n]*\)$") as caught:
        download("file", mirrors, tmp_path, right)
    said = str(caught.value)
    assert all(mirror in said for mirror in mirrors)
    assert said.count("'404 ") == 2
    assert said.count("'416 ") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_words_is_told_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that falls silent, of which httpx has nothing to say, has a reason nevertheless."""

    def stream(*_: object, **__: object) -> None:
        raise httpx.ReadTimeout("")

    monkeypatch.setattr(httpx, "stream", stream)
    with pytest.raises(DataError, match=r"^file could not be downloaded \(http://silent: ReadTimeout\)$"):
        download("file", ["http://silent"], tmp_path, right)


def test_a_mirror_that_sends_something_else_is_passed_over(mirror: Mirror, tmp_path: Path) -> None:
    """A page with status 200 instead of the file, and the next mirror's file is there, alone."""
    path = download("file", [mirror.url("page"), mirror.url("range")], tmp_path, right)
    assert path.read_bytes() == CONTENT
    assert mirror.asked == [("/page/file", None), ("/range/file", None)]
    assert names(tmp_path) == ["file"]


def test_something_else_from_every_mirror_leaves_nothing(mirror: Mirror, tmp_path: Path) -> None:
    """Each mirror is named with what the check said of it, and nothing of theirs is left to go on from."""
    mirrors = [mirror.url("page"), mirror.url("unsaid")]
    reasons = "; ".join(
        f"{mirror}: {size} bytes are not the file" for mirror, size in zip(mirrors, (len(PAGE), 128_000), strict=True)
    )
    with pytest.raises(DataError, match=f"^{re.escape(f'file could not be downloaded ({reasons})')}$"):
        download("file", mirrors, tmp_path, right)
    assert names(tmp_path) == []


def test_a_cut_download_goes_on_where_it_ended(mirror: Mirror, tmp_path: Path) -> None:
    """A connection cut in the middle leaves no file but a partial one, of which a second call asks only the rest."""
    with pytest.raises(DataError, match="could not be downloaded"):
        download("file", [mirror.url("cut")], tmp_path, right)
    assert names(tmp_path) == ["file.0.partial"]
    part = (tmp_path / "file.0.partial").read_bytes()
    assert 0 < len(part) <= len(CONTENT) // 2
    assert CONTENT.startswith(part)

    path = download("file", [mirror.url("range")], tmp_path, right)
    assert mirror.asked[-1] == ("/range/file", f"bytes={len(part)}-")
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_each_mirror_goes_on_with_its_own_beginning(mirror: Mirror, tmp_path: Path) -> None:
    """Of two beginnings, the later call asks the first mirror for its rest only, and then removes the other's."""
    (tmp_path / "file.0.partial").write_bytes(CONTENT[:1000])
    (tmp_path / "file.1.partial").write_bytes(CONTENT[:2000])
    (tmp_path / "file2.0.partial").write_bytes(b"another file's")
    path = download("file", [mirror.url("cut"), mirror.url("range")], tmp_path, right)
    assert mirror.asked == [("/cut/file", "bytes=1000-"), ("/range/file", "bytes=2000-")]
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["file", "file2.0.partial"]


def test_one_mirror_s_beginning_is_not_another_s(mirror: Mirror, tmp_path: Path) -> None:
    """What the first delivered before it was cut is not continued by the second, which is asked for the whole."""
    seen: list[bytes] = []
    path = download(
        "file", [mirror.url("cut"), mirror.url("range")], tmp_path, lambda partial: seen.append(partial.read_bytes())
    )
    assert mirror.asked == [("/cut/file", None), ("/range/file", None)]
    assert seen == [CONTENT]
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["file"]


def test_a_beginning_of_something_else_is_given_up(mirror: Mirror, tmp_path: Path) -> None:
    """Continued, it fails the check and is removed, so that the next call starts anew and gets the file."""
    (tmp_path / "file.0.partial").write_bytes(b"something else")
    with pytest.raises(DataError, match="bytes are not the file"):
        download("file", [mirror.url("range")], tmp_path, right)
    assert names(tmp_path) == []
    assert download("file", [mirror.url("range")], tmp_path, right).read_bytes() == CONTENT
    assert mirror.asked == [("/range/file", "bytes=14-"), ("/range/file", None)]


def test_a_mirror_that_knows_no_ranges_sends_the_whole(mirror: Mirror, tmp_path: Path) -> None:
    """The whole replaces the beginning that was there, and is not added to it."""
    (tmp_path / "file.0.partial").write_bytes(CONTENT[:1000])
    path = download("file", [mirror.url("plain")], tmp_path, right)
    assert mirror.asked == [("/plain/file", "bytes=1000-")]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("surplus", [b"", b"more"])
def test_a_partial_file_with_nothing_to_add_starts_anew(mirror: Mirror, tmp_path: Path, surplus: bytes) -> None:
    """A partial file as long as the mirror's, or longer, is nobody's beginning: the whole is asked for."""
    (tmp_path / "file.0.partial").write_bytes(bytes(len(CONTENT)) + surplus)
    path = download("file", [mirror.url("range")], tmp_path, right)
    assert path.read_bytes() == CONTENT
    assert [wanted is None for _, wanted in mirror.asked] == [False, True]
