"""One request that is made to do harm."""

from typing import NamedTuple


class Case(NamedTuple):
    """A body, where it goes, and the header fields that it goes with."""

    name: str
    path: str
    body: bytes
    headers: dict[str, str]


def picture(name: str, data: bytes) -> Case:
    """A picture's file, to be recognised."""
    return Case(name, "/v1/predict", data, {})
