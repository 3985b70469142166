"""All inputs as one stream of items, in an order that is the same each time."""

import gzip
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO, NamedTuple, cast

from client.errors import InputError
from client.inputs.archive import tar_items, zip_items
from client.inputs.arrays import npy_items
from client.inputs.idx import idx_items, is_idx
from client.inputs.item import Content, Item, broken, read_picture
from client.inputs.places import files, open_file
from client.inputs.table import table_items

LISTED = "-"
"""The argument that stands for paths on standard input, one a line."""

_HEAD = 512  # bytes, which hold the mark of a TAR archive
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


class Place(NamedTuple):
    """Where items are: a file, or an argument that means none, with the sentence that says why."""

    name: str
    error: str | None = None


def items(
    arguments: Iterable[str], listed: Iterable[str] = (), column: str | None = None, own: Collection[str] = ()
) -> Iterator[Item]:
    """The items of all arguments in turn, without the run's `own` files; `-` stands for those that are listed."""
    for place in places(arguments, listed, own):
        yield from place_items(place, column)


def places(arguments: Iterable[str], listed: Iterable[str] = (), own: Collection[str] = ()) -> Iterator[Place]:
    """The places of all arguments in turn, as `items` takes them; none of the files is opened."""
    for argument in arguments:
        for path in (line.rstrip("\r\n") for line in listed) if argument == LISTED else (argument,):
            if path:
                yield from _places_of(path, own)


def _places_of(argument: str, own: Collection[str]) -> Iterator[Place]:
    try:
        for file in files(argument, own):
            yield Place(file)
    except InputError as error:
        yield Place(argument, str(error))


def place_items(place: Place, column: str | None = None) -> Iterator[Item]:
    """The items of one place."""
    if place.error is None:
        yield from file_items(place.name, column)
    else:
        yield broken(place.name, place.error)


def file_items(place: str, column: str | None = None) -> Iterator[Item]:
    """The items of one file, which its content tells: a picture, or something that holds many."""
    try:
        file = open_file(place)
    except InputError as error:
        yield broken(place, str(error))
        return
    with file:
        try:
            head = file.read(_HEAD)
            inner = _unpacked_head(file) if head.startswith(_GZIP) else head
        except Exception as error:  # of whatever storage it lies in
            yield broken(place, f"it cannot be read: {error}")
            return
        if head.startswith(_ZIP):
            yield from zip_items(place, file)
        elif head.startswith(b"\x93NUMPY"):
            file.seek(0)
            yield from npy_items(place, file)
        elif head.startswith(b"PAR1"):
            yield from table_items(place, file, column)
        elif head.startswith((_BZIP2, _XZ)) or inner[257:262] == b"ustar":
            file.seek(0)
            yield from tar_items(place, file)
        elif is_idx(inner):
            file.seek(0)
            yield from idx_items(place, file if inner is head else cast("BinaryIO", gzip.GzipFile(fileobj=file)))
        else:
            yield Item(place, _Picture(file, head))


def _unpacked_head(file: BinaryIO) -> bytes:
    """The first bytes of what a gzip file holds; of one that is damaged, none."""
    file.seek(0)
    try:
        head = gzip.GzipFile(fileobj=file).read(_HEAD)
    except (OSError, EOFError, zlib.error):
        head = b""
    file.seek(_HEAD)
    return head


class _Picture:
    """Reads the rest of a picture's file."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self._file = file
        self._head = head

    def __call__(self) -> Content:
        return read_picture(self._file, self._head)
