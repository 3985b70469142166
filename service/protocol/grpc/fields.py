"""How many fields a message has, counted before any of them is made an object.

A message of a few bytes a field becomes a hundred times its size in objects, and seconds of parsing, so that the fields
are counted as they stand in its bytes (https://protobuf.dev/programming-guides/encoding/), with those of messages in it
and those that nobody here knows. What is in a string or in bytes is passed over.
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from service.errors import MalformedError, TooLargeError

MOST = 64
"""How often a field may stand in a message, and how many numbers one that is no content may pack; as in JSON."""
ALL = 1024
"""How many fields a message may have with those of all messages in it."""
_VARINT, _LENGTH = 0, 2  # wire types
_FIXED = {1: 8, 5: 4}  # bytes by wire type; the others are of groups, which are in no message here
_LONGEST = 10  # bytes of a varint
_NOT_PACKED = (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE)


class Form:
    """What a message's descriptor says of its fields, by number.

    Attributes:
        name: of the message.
        names: of its fields.
        messages: of those that are messages themselves, their forms.
        packed: those that are numbers, any number of which may be in one field.
        is_content: whether they are the values of a tensor, of which there may be many.
    """

    __slots__ = ("is_content", "messages", "name", "names", "packed")

    def __init__(self, descriptor: Any) -> None:
        self.name: str = descriptor.name
        self.is_content = descriptor.name == "InferTensorContents"
        self.names: dict[int, str] = {field.number: field.name for field in descriptor.fields}
        messages = {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}
        self.messages = {number: Form(message) for number, message in messages.items()}
        self.packed = frozenset(
            field.number for field in descriptor.fields if field.is_repeated and field.cpp_type not in _NOT_PACKED
        )


def count(data: bytes, form: Form, values: int) -> int:
    """How many fields a message has, with those of all messages in it; its tensors are meant to have so many values.

    Raises:
        MalformedError: it is none.
        TooLargeError: it has more than `MOST` of one, more than `ALL`, or more bytes of values than are ever needed.
    """
    counted = _Count(data, values)
    try:
        counted.go_through(0, len(data), form)
    except LookupError as error:
        raise MalformedError(f"the message is no {form.name}") from error
    return ALL - counted.left


class _Count:
    """The count of a message.

    Attributes:
        left: how many fields it may have beside those that were counted.
    """

    __slots__ = ("_content", "_data", "_most_content", "left")

    def __init__(self, data: bytes, values: int) -> None:
        self.left = ALL
        self._data = data
        self._content = self._most_content = values * _LONGEST

    def go_through(self, at: int, end: int, form: Form) -> None:
        """Counts the fields from `at` to `end`.

        Raises:
            LookupError: they go beyond the end, or are none.
            TooLargeError: there are too many.
        """
        data = self._data
        seen: dict[int, int] = {}
        while at < end:
            tag, at = _varint(data, at)
            number = tag >> 3
            wire = tag & 7
            if self.left == 0:
                raise TooLargeError(f"the message has more than {ALL:,} fields")
            self.left -= 1
            values = 1
            if wire == _LENGTH:
                size, at = _varint(data, at)
                if at + size > end:
                    raise LookupError
                inner = form.messages.get(number)
                if inner is not None:
                    self.go_through(at, at + size, inner)
                elif form.is_content:
                    self._take(size)
                elif number in form.packed:
                    values = _values(data, at, at + size)
                at += size
            elif wire == _VARINT:
                _, at = _varint(data, at)
            else:
                at += _FIXED[wire]
            seen[number] = times = seen.get(number, 0) + values
            if times > MOST:
                name = form.names.get(number)
                field = f"fields of number {number}" if name is None else f"'{name}'"
                raise TooLargeError(f"there are more than {MOST} {field} in one {form.name}")
        if at > end:
            raise LookupError

    def _take(self, size: int) -> None:
        self._content -= size
        if self._content < 0:
            most = self._most_content
            raise TooLargeError(f"the contents of tensors have more than {most:,} bytes, which no request needs")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = data[at]
    if value < 128:
        return value, at + 1
    value &= 127
    for place in range(1, _LONGEST):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise LookupError


def _values(data: bytes, at: int, end: int) -> int:
    """How many varints there are, or as many as there may be at most; for none it is one, as the field is there."""
    size = end - at
    return sum(byte < 128 for byte in data[at:end]) if MOST < size <= _LONGEST * MOST else max(size, 1)
