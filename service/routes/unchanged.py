"""Answers that stay the same as long as the model does: a caller who has one is told that it still holds.

RFC 9110, sections 8.8.3 (ETag), 13.1.2 (If-None-Match) and 15.4.5 (304).
"""

from hashlib import sha256

import service


def entity_tag(*parts: object) -> str:
    """The ETag of an answer that these parts and the service's own version determine."""
    named = "\n".join(map(str, (service.__version__, *parts)))
    return f'"{sha256(named.encode()).hexdigest()[:32]}"'


def is_known(header: str, tag: str) -> bool:
    """Whether an If-None-Match header names that ETag, which has no comma within it, or all."""
    return header.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in header.split(","))
