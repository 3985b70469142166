"""One input: its name, and how its bytes are had."""

from collections.abc import Callable
from typing import BinaryIO, Literal, NamedTuple, NoReturn

from client.errors import InputError

LARGEST = 32 * 2**20
"""Bytes of the largest picture that is read, which is as much as the service takes."""


class Content(NamedTuple):
    """The bytes of a picture's file, or the 784 of a prepared digit, bright ink on black."""

    kind: Literal["picture", "digit"]
    data: bytes


class Item(NamedTuple):
    """An input by name.

    Attributes:
        load: reads it, until the next item is taken; raises InputError.
    """

    name: str
    load: Callable[[], Content]


def broken(name: str, sentence: str) -> Item:
    """An item that cannot be read."""

    def load() -> NoReturn:
        raise InputError(sentence)

    return Item(name, load)


def read_picture(file: BinaryIO, head: bytes = b"") -> Content:
    """The whole of a file as a picture; `head` has been read of it before.

    Raises:
        InputError: it is empty, too large, or cannot be read.
    """
    try:
        data = head + file.read(LARGEST + 1 - len(head))
    except Exception as error:  # of whatever storage or compression it lies in
        raise InputError(f"it cannot be read: {error}") from error
    if not data:
        raise InputError("it is empty")
    if len(data) > LARGEST:
        raise InputError(f"it has more than {LARGEST:,} bytes")
    return Content("picture", data)
