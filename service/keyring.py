"""The keys of a service and of all its workers, which may be read anew while it runs."""

import mmap
from collections.abc import Mapping
from typing import NamedTuple

from service.bucket import Bucket
from service.keys import Key, is_exposed, parsed, text_of

_MOST = 65536  # keys; memory that none of them needs is never made


class Renewal(NamedTuple):
    """What takes the place of the keys that there are: the lines, and where in memory the rate of each name is."""

    text: str
    places: dict[str, int]


class Keyring:
    """The keys, with their rates in memory that is shared with processes forked later.

    A rate belongs to a name: whoever is given another key by the same name goes on with what he has asked already.

    Attributes:
        keys: those that are known now.
        source: the file's name, or the lines themselves.
    """

    def __init__(self, value: str) -> None:
        """`value` names a file of keys, or is its lines themselves.

        Raises:
            ValueError: as `read`.
        """
        self.keys: tuple[Key, ...] = ()
        self.source = value
        self._full = memoryview(mmap.mmap(-1, 8 * _MOST)).cast("d")
        self._places: Mapping[str, int] = {}
        self.take(self.read())

    def read(self) -> Renewal:
        """What is in the file now; nothing is changed by that yet.

        One process reads and hands it to the others, so that all of them take the same.

        Raises:
            ValueError: it cannot be read, has no keys, too many, or one that is none; the sentence says in which line.
        """
        text, source = text_of(self.source)
        names = [line.name for line in parsed(text, source)]
        # Of a key that goes now the place stays its own until others have forgotten it, too.
        taken = set(self._places.values())
        free = (place for place in range(_MOST) if place not in taken)
        new = [name for name in names if name not in self._places]
        places = {name: self._places[name] for name in names if name in self._places} | dict(
            zip(new, free, strict=False)
        )
        if len(places) < len(names):
            raise ValueError(f"{source}: no more than {_MOST:,} keys may be known, those included that are taken out")
        for name in new:
            self._full[places[name]] = 0.0
        return Renewal(text, places)

    def take(self, renewal: Renewal) -> None:
        """Knows these keys from now on, and no others."""
        text, places = renewal
        self.keys = tuple(
            Key(name, scopes, digest, None if rate is None else self._bucket(rate, places[name]))
            for name, scopes, rate, digest in parsed(text, "the keys")
        )
        self._places = places

    def is_exposed(self) -> bool:
        """As `service.keys.is_exposed` has it, of where they were read from."""
        return is_exposed(self.source)

    def _bucket(self, rate: float, place: int) -> Bucket:
        return Bucket(rate, self._full[place : place + 1])
