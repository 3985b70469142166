"""API keys: how they are made, written down and told apart.

A key is a random number of 256 bits, so what is kept of it is its SHA-256: nobody finds a number of that size by
trying, and a slow hash, which is for what people make up, would only slow down the service.
"""

import hmac
import re
import secrets
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from service.bucket import Bucket
from service.errors import LimitedError
from service.scopes import SCOPES, Scope

_PREFIX = "dsk_"  # by which a key is known for one, where it lies about
_HASH = "sha256:"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NO_NAME = "a name is to be of 1 to 64 letters, digits and ._-"
_DIGEST = re.compile(rf"{_HASH}([0-9a-f]{{64}})")


@dataclass(frozen=True, eq=False)
class Key:
    """A key as the service knows it.

    Attributes:
        digest: the SHA-256 of the key itself, 32 bytes.
        bucket: its rate; None without a limit.
    """

    name: str
    scopes: frozenset[Scope]
    digest: bytes
    bucket: Bucket | None = None

    def spend(self) -> None:
        """Counts a request against the key's rate.

        Raises:
            LimitedError: it has asked too often.
        """
        if self.bucket is not None:
            wait = self.bucket.take()
            if wait:
                raise LimitedError(f"this API key may ask {self.bucket.rate:g} times a second, and has", wait)

    def give_back(self) -> None:
        """Takes back what was counted, of a request that is counted anew."""
        if self.bucket is not None:
            self.bucket.give_back()


def new_key() -> str:
    """A key that nobody has."""
    return _PREFIX + secrets.token_urlsafe(32)


def written(name: str, scopes: Iterable[str], rate: float | None, key: str) -> str:
    """The line that a key has in a file of keys: its name, its scopes, its requests a second, and its SHA-256.

    Raises:
        ValueError: the name, a scope or the rate cannot be.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(_NO_NAME)
    limit = "-" if rate is None else repr(rate).removesuffix(".0")
    line = f"{name} {','.join(scopes)} {limit} {_HASH}{sha256(key.encode()).hexdigest()}"
    _read_line(line)
    return line


class Line(NamedTuple):
    """What a line says of a key: its rate is in requests a second, None without a limit."""

    name: str
    scopes: frozenset[Scope]
    rate: float | None
    digest: bytes


def text_of(value: str) -> tuple[str, str]:
    """The lines of a file that is named, or that are given themselves, which its name never looks like; and whence.

    Raises:
        ValueError: the file cannot be read.
    """
    return (value, "the keys") if _HASH in value else (_text(Path(value)), value)


def parsed(text: str, source: str) -> list[Line]:
    """What lines say, which are from a source that messages name.

    Raises:
        ValueError: there are no keys, or one that is none; the sentence says in which line.
    """
    found: dict[str, Line] = {}
    digests = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                read = _read_line(line)
                if read.name in found or read.digest in digests:
                    raise ValueError("the name or the key was there before")
            except ValueError as error:
                raise ValueError(f"{source}, line {number}: {error}") from None
            found[read.name] = read
            digests.add(read.digest)
    if not found:
        raise ValueError(f"{source}: there are no keys in it")
    return list(found.values())


def is_exposed(value: str) -> bool:
    """Whether keys are in a file that others than its owner and its group can read, or others than its owner change."""
    return _HASH not in value and bool(Path(value).stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP))


def find(keys: Sequence[Key], presented: bytes) -> Key | None:
    """The key that was presented, if it is one; how long it takes tells nothing of which, or of how near it was."""
    digest = sha256(presented).digest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text") from error


def _read_line(line: str) -> Line:
    # No sentence here repeats what a line has in the place of the hash: it may be the key itself.
    parts = line.split()
    if len(parts) != 4:
        raise ValueError(f"a line is to have a name, scopes, a rate and {_HASH}…, and this one has {len(parts)} parts")
    name, scopes, rate, hashed = parts
    digest = _DIGEST.fullmatch(hashed)
    if digest is None:
        raise ValueError(f"a line is to end with {_HASH} and 64 digits of a key's SHA-256, in small letters")
    if not _NAME.fullmatch(name):
        raise ValueError(_NO_NAME)
    named = [scope for scope in SCOPES if scope in scopes.split(",")]
    if set(named) != set(scopes.split(",")):
        raise ValueError(f"scopes are to be of {', '.join(SCOPES)}, with commas between them")
    return Line(name, frozenset(named), _read_rate(rate), bytes.fromhex(digest[1]))


def _read_rate(rate: str) -> float | None:
    if rate == "-":
        return None
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", rate) or not 0.001 <= float(rate) <= 1e6:
        raise ValueError("a rate is to be requests a second, from 0.001 to 1000000, or - for none")
    return float(rate)
