"""Whom a request is from, as far as shares in what is scarce go."""

from contextvars import ContextVar
from functools import lru_cache
from ipaddress import IPv6Address

_SITE = 64  # bits: of an IPv6 address the rest is its owner's own to choose (RFC 4291, section 2.5.1)

CALLER: ContextVar[str | None] = ContextVar("caller", default=None)
"""Whom the request that is being answered is from, for what it has to wait for; None is nobody in particular."""


@lru_cache(maxsize=4096)
def caller_of(host: str) -> str:
    """The caller behind an address: the address itself, or of one of IPv6 the network that it is in."""
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> (128 - _SITE) << (128 - _SITE))}/{_SITE}"
