"""ZIP and TAR archives → items, and NPZ files, which are ZIP archives of arrays."""

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from client.errors import InputError
from client.inputs.arrays import npy_items
from client.inputs.item import Content, Item, broken, read_picture

_ARRAY = ".npy"


def zip_items(name: str, file: BinaryIO) -> Iterator[Item]:
    """The files of a ZIP archive as pictures, as `name/path`; of one that holds arrays alone, their images."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        yield broken(name, f"it is no whole ZIP archive: {error}")
        return
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir() and not _is_hidden(member.filename)]
        arrays = all(member.filename.endswith(_ARRAY) for member in members)
        for member in members:
            if arrays:
                try:
                    with archive.open(member) as array:
                        yield from npy_items(f"{name}/{member.filename.removesuffix(_ARRAY)}", cast("BinaryIO", array))
                except Exception as error:  # encrypted, or of an unknown compression
                    yield broken(f"{name}/{member.filename}", f"it cannot be read: {error}")
            else:
                yield Item(f"{name}/{member.filename}", _Member(archive, member))


class _Member:
    """Reads one file of a ZIP archive."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._member = member

    def __call__(self) -> Content:
        try:
            file = self._archive.open(self._member)
        except Exception as error:  # encrypted, or of an unknown compression
            raise InputError(f"it cannot be read: {error}") from error
        with file:
            return read_picture(cast("BinaryIO", file))


def tar_items(name: str, file: BinaryIO) -> Iterator[Item]:
    """The files of a TAR archive, compressed or not, as pictures, as `name/path`."""
    try:
        # As a stream: it is read once from beginning to end, and need not be decompressed to find the next member.
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            while (member := archive.next()) is not None:
                vars(archive)["members"].clear()  # which would remember all, without end
                if member.isfile() and not _is_hidden(member.name):
                    yield Item(f"{name}/{member.name}", _Extract(archive, member))
    except Exception as error:  # of whatever compression it is
        yield broken(name, f"its TAR archive cannot be read on: {error}")


class _Extract:
    """Reads one file of a TAR archive, while it stands there."""

    def __init__(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._archive = archive
        self._member = member

    def __call__(self) -> Content:
        file: IO[bytes] | None = self._archive.extractfile(self._member)
        if file is None:
            raise InputError("it is no file")
        return read_picture(cast("BinaryIO", file))


def _is_hidden(name: str) -> bool:
    """Whether a path is one that systems leave behind, such as `__MACOSX/._a.png`."""
    parts = PurePosixPath(name).parts
    return any((part.startswith(".") and part not in {".", ".."}) or part == "__MACOSX" for part in parts)
