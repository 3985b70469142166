"""Items that are asked for together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from client.asynchronous import DIGITS, PICTURES, Preprocess
from client.errors import InputError
from client.inputs.item import Content, Item
from client.inputs.prepared import unpacked

_BYTES = 2**20  # of the pictures of one group; one that is larger has a group of its own


@dataclass
class Group:
    """Inputs in a row that can be asked for by one request, with those between them that could not be read.

    Attributes:
        names: of all.
        data: the bytes of those that were read, all pictures or all prepared digits.
        errors: of the others, by their place among the names.
        kind: of those that were read.
        size: bytes of the data.
    """

    names: list[str] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    kind: Literal["picture", "digit"] | None = None
    size: int = 0

    def has_room_for(self, content: Content | None) -> bool:
        """Whether one more can be asked for with the others."""
        if content is None or self.kind is None:
            return len(self.names) < DIGITS
        if content.kind != self.kind or len(self.names) >= DIGITS:
            return False
        return self.kind == "digit" or (len(self.data) < PICTURES and self.size + len(content.data) <= _BYTES)

    def add(self, content: Content) -> None:
        """Takes in the bytes of the last name."""
        self.kind = content.kind
        self.data.append(content.data)
        self.size += len(content.data)


def groups(items: Iterable[Item], preprocess: Preprocess = "mnist") -> Iterator[Group]:
    """The items, read and in groups, in their order."""
    group = Group()
    for item in items:
        content, error = _load(item, preprocess)
        if group.names and not group.has_room_for(content):
            yield group
            group = Group()
        if content is None:
            group.errors[len(group.names)] = error
        else:
            group.add(content)
        group.names.append(item.name)
    if group.names:
        yield group


def _load(item: Item, preprocess: Preprocess) -> tuple[Content | None, str]:
    try:
        content = item.load()
    except InputError as error:
        return None, str(error)
    except Exception as error:  # of whatever an input makes its reader raise: one that is bad costs its own row
        return None, f"it cannot be read: {type(error).__name__}: {error}"
    return (unpacked(content) if preprocess == "none" else content), ""
