"""Headers of every answer that tell browsers what not to do with it; of answers to programs they change nothing."""

_POLICY = b"content-security-policy"

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # An answer that is opened by itself may load and run nothing; the pages have policies of their own.
    (_POLICY, b"default-src 'none'; frame-ancestors 'none'"),
)
WRITTEN = b"".join(b"%b: %b\r\n" % header for header in HEADERS)
"""The same as they go over the wire."""


def shielded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An answer's headers with these behind them, unless it has a policy of its own, which stays."""
    own = any(name == _POLICY for name, _ in headers)
    return [*headers, *(HEADERS[:-1] if own else HEADERS)]
