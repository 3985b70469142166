"""All inputs as one stream: each kind of file is told by its content, and what is broken costs its own row."""

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.errors import InputError
from client.inputs.stream import items
from tests.conftest import Mnist
from tests.service.serving import DATA


def read(*arguments: str, listed: tuple[str, ...] = (), column: str | None = None) -> dict[str, bytes | str]:
    """The inputs by name: bytes, or the sentence that says why there are none."""
    found: dict[str, bytes | str] = {}
    for item in items(arguments, listed, column):
        assert item.name not in found
        try:
            found[item.name] = item.load().data
        except InputError as error:
            found[item.name] = str(error)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of folders, with hidden files and links in it."""
    for name in ("b/2.png", "b/10.png", "a.png", "b/c/deep.png", ".hidden/x.png", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    return tmp_path


def test_folders_are_walked_in_the_order_of_names(folder: Path) -> None:
    """All that is in them, whole, but for hidden files and links to folders; a link to a file is a file."""
    found = read(str(folder))
    names = [name.removeprefix(f"{folder}/") for name in found]
    assert names == ["a.png", "b/10.png", "b/2.png", "b/c/deep.png", "link.png"]
    assert list(found.values()) == [b"a.png", b"b/10.png", b"b/2.png", b"b/c/deep.png", b"a.png"]


def test_patterns_and_lists(folder: Path) -> None:
    """A pattern means the files that it matches, and standard input's lines stand where - does."""
    found = read(str(folder / "b" / "*.png"), "-", listed=(f"{folder}/a.png\n", "\n", f"{folder}/b/c\r\n"))
    assert list(found.values()) == [b"b/10.png", b"b/2.png", b"a.png", b"b/c/deep.png"]
    assert read(str(folder / "**" / "d*.png")) == {f"{folder}/b/c/deep.png": b"b/c/deep.png"}
    assert (
        len(read(str(folder / "**"))) == len(read(str(folder / "**" / "*"))) == 5
        and len(read(str(folder / "*" / "c"))) == 1
    )
    (folder / "[1].png").write_bytes(b"brackets")
    assert read(str(folder / "[1].png")) == {f"{folder}/[1].png": b"brackets"}


def test_what_is_not_there_costs_one_row(folder: Path) -> None:
    """A missing file, a pattern without a match and an empty file are told in their places, and the others are read."""
    (folder / "empty.png").touch()
    wrong = [f"{folder}/none.png", f"{folder}/*.jpg", f"{folder}/empty.png", "nowhere://x/y"]
    found = read(*wrong[:2], f"{folder}/a.png", *wrong[2:])
    assert [found[name] for name in wrong[:3]] == ["there is no such file", "no file has such a name", "it is empty"]
    assert str(found[wrong[3]]).startswith("it cannot be listed") and found[f"{folder}/a.png"] == b"a.png"


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    """A file of gigabytes costs its row and no memory."""
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(5 * 2**30)
    assert read(str(tmp_path)) == {f"{tmp_path}/large.png": "it has more than 33,554,432 bytes"}


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is read as any other."""
    with open(os.path.join(os.fsencode(tmp_path), b"\xff.png"), "wb") as file:  # noqa: PTH118, PTH123 — such a name
        file.write(b"picture")
    assert list(read(str(tmp_path)).values()) == [b"picture"]


def zipped(members: dict[str, bytes]) -> bytes:
    """A ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    """A TAR archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


MEMBERS = {"b/1.png": b"one" * 999, "a.png": b"two", "__MACOSX/a.png": b"x", "c/._d.png": b"x", "empty.png": b""}


@pytest.mark.parametrize(
    "pack",
    [
        zipped,
        tarred,
        lambda members: gzip.compress(tarred(members)),
        lambda members: bz2.compress(tarred(members)),
        lambda members: lzma.compress(tarred(members)),
    ],
)
def test_archives(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """ZIP and TAR, however compressed and whatever they are called, in the archive's own order."""
    (tmp_path / "anything").write_bytes(pack(MEMBERS))
    found = read(str(tmp_path / "anything"))
    assert list(found.items()) == [
        (f"{tmp_path}/anything/b/1.png", b"one" * 999),
        (f"{tmp_path}/anything/a.png", b"two"),
        (f"{tmp_path}/anything/empty.png", "it is empty"),
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_bound_are_not_unpacked(tmp_path: Path, method: int) -> None:
    """Members of a ZIP archive, pictures or arrays, that zipfile would unpack whole at once cost their rows."""
    for name in ("x.png", "x.npy"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(name, bytes(1000), method)
        (told,) = read(str(tmp_path / name)).values()
        assert told == f"it is compressed by ZIP's method {method}, and only deflated ones are read"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_archives_are_unpacked_no_further_than_is_read(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """128 MiB of zeros in a TAR archive is skipped or refused in little memory."""
    (tmp_path / "bomb").write_bytes(compress(tarred({"a.png": bytes(2**27), "b.png": b"two"})))
    tracemalloc.start()
    try:
        found = read(str(tmp_path / "bomb"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert list(found.values()) == ["it has more than 33,554,432 bytes", b"two"]
    assert peak < 2**27  # of what is read of a picture there are three copies


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_without_bound_are_not_read(tmp_path: Path, kind: bytes) -> None:
    """A header of a TAR archive that says that 4 GiB of names follow ends it, with what was before it."""
    member = tarfile.TarInfo("long")
    member.type, member.size = kind, 2**32
    whole = tarred({"a.png": b"one"})[:1024] + member.tobuf(tarfile.GNU_FORMAT) + bytes(2**16)
    (tmp_path / "x").write_bytes(gzip.compress(whole))
    first, last = read(str(tmp_path / "x")).values()
    assert first == b"one" and last == "its TAR archive cannot be read on: a header has 4,294,967,296 bytes"


@pytest.mark.parametrize("pattern", ["\0*", "[", "a\0/**", "**x/[", "***"])
def test_patterns_that_are_none_cost_a_row(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a pattern makes pathlib raise is its row's error."""
    monkeypatch.chdir(tmp_path)
    (told,) = read(pattern).values()
    assert isinstance(told, str)


def test_damaged_directories_of_archives(tmp_path: Path) -> None:
    """A ZIP archive that asks for a newer reader, or has any byte of its directory changed, raises nothing."""
    whole = zipped({"a.png": b"one"})
    for place in range(whole.rindex(b"PK\x01\x02"), len(whole)):
        (tmp_path / "x").write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        assert read(str(tmp_path / "x"))


@pytest.mark.parametrize("pack", [zipped, tarred, lambda members: gzip.compress(tarred(members))])
def test_archives_that_are_cut_off(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """Cut anywhere, an archive gives what is whole in it and a sentence, and never an exception."""
    noise = np.random.default_rng(0).bytes
    whole = pack({f"{number}.png": noise(700) for number in range(4)})
    for cut in range(4, len(whole) - 1, 97):
        path = tmp_path / f"{cut}"
        path.write_bytes(whole[:cut])
        found = read(str(path), "-", listed=(f"{path}.none",))
        assert found[f"{path}.none"] == "there is no such file" and len(found) > 1


def test_idx_files(tmp_path: Path, mnist: Mnist) -> None:
    """MNIST's own files, gzipped or not, are its digits one by one; one of labels holds none, and says so."""
    packed = DATA / "t10k-images-idx3-ubyte.gz"
    plain = tmp_path / "plain"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    for path in (packed, plain):
        found = read(str(path))
        assert list(found)[:2] == [f"{path}[0]", f"{path}[1]"] and len(found) == 10_000
        assert b"".join(map(bytes, found.values())) == mnist.images.tobytes()  # type: ignore[arg-type]
    (told,) = read(str(DATA / "t10k-labels-idx1-ubyte.gz")).values()
    assert told == "it holds no images: its IDX header says 1 axes, and images have 3"


def test_an_idx_file_that_is_cut_off(tmp_path: Path, mnist: Mnist) -> None:
    """What is whole is read, and the place where it ends has a row that says so."""
    path = tmp_path / "cut"
    path.write_bytes(struct.pack(">4I", 0x803, 5, 28, 28) + mnist.images[:3].tobytes() + b"more")
    *whole, last = read(str(path)).values()
    assert whole == [image.tobytes() for image in mnist.images[:3]]
    assert last == "it ends here, and 5 images are announced"
    path.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 5, 28, 28) + mnist.images[:5].tobytes())[:-200])
    (told,) = read(str(path)).values()
    assert str(told).startswith("it cannot be read from here on")


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])]
)
def test_parquet_with_pictures(tmp_path: Path, kind: pa.DataType) -> None:
    """A column of bytes, or of structs with bytes, over several row groups; a row without any costs itself."""
    path = tmp_path / "table"
    data: list[bytes | None] = [b"%d" % number for number in range(200)]
    data[7] = None
    values = [{"bytes": each, "path": "p"} for each in data] if pa.types.is_struct(kind) else data
    pq.write_table(pa.table({"label": list(range(200)), "image": pa.array(values, kind)}), path, row_group_size=90)
    found = read(str(path))
    assert list(found) == [f"{path}[{number}]" for number in range(200)]
    assert found[f"{path}[7]"] == "it is empty" and found[f"{path}[199]"] == b"199"
    assert read(str(path), column="image") == found
    (told,) = read(str(path), column="label").values()
    assert told == "it has 0 columns with bytes in a column 'label', and one is needed (--column names it)"


def test_parquet_that_is_none(tmp_path: Path) -> None:
    """A file that begins as Parquet does and is none, and a table of which it cannot be told where the pictures are."""
    (tmp_path / "a").write_bytes(b"PAR1 and no more PAR1")
    pq.write_table(pa.table({"one": [b"x"], "two": [b"y"]}), tmp_path / "b")
    first, second = read(str(tmp_path)).values()
    assert str(first).startswith("it is no Parquet file") and str(second).startswith("it has 2 columns with bytes")
    assert read(str(tmp_path / "b"), column="two") == {f"{tmp_path}/b[0]": b"y"}


def test_addresses_of_object_storage(mnist: Mnist) -> None:
    """What fsspec has a system for is listed and read by it, archives too; here its storage in memory."""
    system = fsspec.filesystem("memory")
    system.pipe({"/digits/b.png": b"one", "/digits/deep/a.png": b"two", "/digits/deep/z.zip": zipped({"x": b"three"})})
    buffer = io.BytesIO()
    np.save(buffer, mnist.images[:2])
    system.pipe("/digits/z.npy", buffer.getvalue())
    found = read("memory://digits")
    expected = [b"one", b"two", b"three", mnist.images[0].tobytes(), mnist.images[1].tobytes()]
    assert list(found.values()) == expected
    assert list(read("memory://digits/*.png").values()) == [b"one"]
    assert list(read("memory://digits/*.jpg").values()) == ["no file has such a name"]
    system.rm("/digits", recursive=True)
