"""Arguments → the files that they mean: paths, folders, patterns, and addresses of object storage.

Files of this machine are walked here, a folder at a time; other addresses are fsspec's
(https://filesystem-spec.readthedocs.io).
"""

import glob
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from client.errors import InputError


def files(argument: str, own: Collection[str] = ()) -> Iterator[str]:
    """The files that an argument means, folders with all that is in them; each folder in the order of names.

    Hidden files are left out of folders, and links to folders are not followed. The run's `own` files, by the names
    that `resolved` gives them, are left out of folders and patterns, since they come and go while these are read.

    Raises:
        InputError: it means none.
    """
    if "://" in argument:
        yield from _remote_files(argument, own)
    elif os.path.lexists(argument):
        yield from (path for path in _local_files(argument) if path == argument or not _is_one_of(own, path))
    elif glob.has_magic(argument):
        try:
            found = _matches(argument)
        except Exception as error:  # pathlib's own, of what is no pattern
            raise InputError(f"it is no pattern: {error}") from error
        if not found:
            raise InputError("no file has such a name")
        for each in found:
            yield from (path for path in _local_files(each) if not _is_one_of(own, path))
    else:
        raise InputError("there is no such file")


def resolved(path: str) -> str:
    """The one name of a file, there or not, whose folder may have several; a link at its end stays one."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 — names that are no text stay as they are


def open_file(place: str) -> BinaryIO:
    """A file to read.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        if "://" in place:
            return cast("BinaryIO", fsspec.open(place, "rb").open())
        return open(place, "rb")  # noqa: PTH123 — as above
    except Exception as error:  # of whatever storage it lies in
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"it cannot be opened: {said}") from error


def _is_one_of(own: Collection[str], path: str) -> bool:
    name = os.path.basename(path)  # noqa: PTH119 — of millions of files
    return any(each.endswith(name) for each in own) and resolved(path) in own


def _matches(pattern: str) -> list[str]:
    """What a pattern matches, but for what is hidden and not named so.

    `**` is any number of folders, without links; since it reaches all files by itself, it then means files alone.
    """
    path = Path(pattern)
    if path.name == "**":  # a folder with all that is in it
        return _matches(str(path.parent)) if glob.has_magic(str(path.parent)) else [str(path.parent)]
    found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    named = set(path.parts)
    return sorted(
        str(each)
        for each in found
        if not any(part.startswith(".") and part not in named for part in each.parts)
        and not ("**" in named and each.is_dir())
    )


def _local_files(path: str) -> Iterator[str]:
    # All names at once, since they come in no order: some 75 bytes of each file, and nothing else of it.
    names, folders = [], set()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                names.append(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
    except (OSError, ValueError):  # it is no folder, no name at all, or may not be read, and then opening it says why
        yield path
        return
    names.sort()
    for name in names:
        if name.startswith("."):
            continue
        inner = os.path.join(path, name)  # noqa: PTH118 — as above
        if name in folders:
            yield from _local_files(inner)
        elif not os.path.isdir(inner):  # noqa: PTH112 — a link to a folder
            yield inner


def _remote_files(address: str, own: Collection[str]) -> Iterator[str]:
    try:
        system, path = fsspec.core.url_to_fs(address)
        if glob.has_magic(path):
            found = system.glob(path)
        elif system.isdir(path):
            found = system.find(path)
        else:
            found = [path]
    except Exception as error:  # of whatever storage it is
        raise InputError(f"it cannot be listed: {error}") from error
    if not found:
        raise InputError("no file has such a name")
    local = isinstance(system, LocalFileSystem)
    for each in sorted(found):
        if not (local and _is_one_of(own, each)):
            yield str(system.unstrip_protocol(each))
