"""Who asks through somebody's browser: whether a web page of another site does, and by which name.

A service that listens on loopback is within reach of every page that its owner looks at. Such a page can send requests
here whose answers it cannot read (cross-site request forgery), and one whose name is made to lead here can read them as
well (DNS rebinding). Browsers say in headers that no page can change where a request comes from; what is no browser
sends none of them. The rules are those of Fetch Metadata (https://www.w3.org/TR/fetch-metadata/), with `Origin` (RFC
6454) for what does not send that.
"""

from collections.abc import Mapping
from functools import lru_cache

ANY = "*"
_OWN = (b"same-origin", b"none")  # none is of what a person types, or has marked
_SAFE = ("GET", "HEAD")

Fields = Mapping[bytes, bytes]


def of_browser(fields: Fields) -> bool:
    """Whether header fields, by name in small letters, say that a web page may have sent them."""
    return b"origin" in fields or b"sec-fetch-site" in fields


def is_foreign(method: str, fields: Fields, allowed: frozenset[str]) -> bool:
    """Whether a page of another site asks, whose origin is none of those allowed; links that lead here are followed."""
    origin = fields.get(b"origin")
    if origin is not None and (ANY in allowed or origin.decode("latin-1") in allowed):
        return False
    site = fields.get(b"sec-fetch-site")
    if site is not None:
        link = method in _SAFE and fields.get(b"sec-fetch-mode") == b"navigate"
        return site not in _OWN and not link
    return origin is not None and origin.partition(b"://")[2].lower() != fields.get(b"host", b"").lower()


@lru_cache(maxsize=256)
def is_foreign_name(host: bytes, allowed: frozenset[str]) -> bool:
    """Whether a Host header has a name that anybody may have registered, and that is none of those allowed.

    Nobody can register an address, a name of a single part, or one below localhost (RFC 6761, section 6.3).
    """
    name = host.decode("latin-1").lower()
    name = name if name.startswith("[") else name.partition(":")[0]
    last = name.rpartition(".")[2]
    return not (name.startswith("[") or last in (name, "localhost") or last.isdecimal() or name in allowed)
