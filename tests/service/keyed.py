"""Keys for services that want some: made as anybody makes them, with the lines that the services are given."""

from collections.abc import Mapping

from service.keys import new_key, written
from service.scopes import SCOPES

KEYS: Mapping[str, str] = {name: new_key() for name in (*SCOPES, "all", "page", "slow")}
"""A key of each scope alone, by its name, one of all, one of what the page needs, and one that may ask once an hour."""

LINES = "\n".join(
    (
        *(written(scope, [scope], None, KEYS[scope]) for scope in SCOPES),
        written("all", SCOPES, None, KEYS["all"]),
        written("page", ["predict", "inspect"], None, KEYS["page"]),
        written("slow", ["predict"], 0.001, KEYS["slow"]),
    )
)
"""Their lines."""


def bearing(name: str) -> dict[str, str]:
    """The header that has a key."""
    return {"Authorization": f"Bearer {KEYS[name]}"}
