"""ZIP and TAR archives → items, and NPZ files, which are ZIP archives of arrays."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Self, cast

from client.errors import InputError
from client.inputs.arrays import npy_items
from client.inputs.item import Content, Item, broken, read_picture

_ARRAY = ".npy"
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_LONGEST = 2**20  # bytes of a header of these, which is read at once
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that are unpacked no further than is asked for
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"


def zip_items(name: str, file: BinaryIO) -> Iterator[Item]:
    """The files of a ZIP archive as pictures, as `name/path`; of one that holds arrays alone, their images."""
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises what a damaged directory makes it raise
        yield broken(name, f"it is no whole ZIP archive: {error}")
        return
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir() and not _is_hidden(member.filename)]
        arrays = all(member.filename.endswith(_ARRAY) for member in members)
        for member in members:
            if arrays:
                try:
                    array = _opened(archive, member)
                except InputError as error:
                    yield broken(f"{name}/{member.filename}", str(error))
                    continue
                with array:
                    yield from npy_items(f"{name}/{member.filename.removesuffix(_ARRAY)}", array)
            else:
                yield Item(f"{name}/{member.filename}", _Member(archive, member))


class _Member:
    """Reads one file of a ZIP archive."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._member = member

    def __call__(self) -> Content:
        with _opened(self._archive, self._member) as file:
            return read_picture(file)


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """One file of a ZIP archive, to be read."""
    if member.compress_type not in _METHODS:
        raise InputError(f"it is compressed by ZIP's method {member.compress_type}, and only deflated ones are read")
    try:
        return cast("BinaryIO", archive.open(member))
    except Exception as error:  # encrypted, or damaged
        raise InputError(f"it cannot be read: {error}") from error


def tar_items(name: str, file: BinaryIO) -> Iterator[Item]:
    """The files of a TAR archive, compressed or not, as pictures, as `name/path`."""
    try:
        # As a stream: it is read once from beginning to end, and need not be decompressed to find the next member.
        with _unpacked(file) as plain, tarfile.open(fileobj=plain, mode="r|", tarinfo=_Header) as archive:
            while (member := archive.next()) is not None:
                vars(archive)["members"].clear()  # which would remember all, without end
                if member.isfile() and not _is_hidden(member.name):
                    yield Item(f"{name}/{member.name}", _Extract(archive, member))
    except Exception as error:  # of whatever compression it is
        yield broken(name, f"its TAR archive cannot be read on: {error}")


def _unpacked(file: BinaryIO) -> BinaryIO:
    """What a file holds that may be compressed, unpacked no further than is read, which tarfile's own stream is not."""
    head = file.read(len(_XZ))
    file.seek(0)
    if head.startswith(_GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if head.startswith(_BZIP2):
        return cast("BinaryIO", bz2.BZ2File(file))
    return cast("BinaryIO", lzma.LZMAFile(file)) if head.startswith(_XZ) else file


class _Header(tarfile.TarInfo):
    """A header of a TAR archive; one that announces another of a length without bound is refused."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENDED and found.size > _LONGEST:
            raise tarfile.ReadError(f"a header has {found.size:,} bytes")
        return found


class _Extract:
    """Reads one file of a TAR archive, while it stands there."""

    def __init__(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._archive = archive
        self._member = member

    def __call__(self) -> Content:
        try:
            file: IO[bytes] | None = self._archive.extractfile(self._member)
        except Exception as error:  # of whatever compression it is
            raise InputError(f"it cannot be read: {error}") from error
        if file is None:
            raise InputError("it is no file")
        return read_picture(cast("BinaryIO", file))


def _is_hidden(name: str) -> bool:
    """Whether a path is one that systems leave behind, such as `__MACOSX/._a.png`."""
    parts = PurePosixPath(name).parts
    return any((part.startswith(".") and part not in {".", ".."}) or part == "__MACOSX" for part in parts)
