"""Compressed bodies (RFC 9110, section 8.4.1): gzip, and deflate in zlib's format, within limits."""

import zlib

from service.errors import MalformedError, TooLargeError

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_NONE = ("", "identity")
_LEVEL = 1  # float32 hardly shrinks any further, whatever is spent on it
WORTHWHILE = 1024  # bytes; a shorter answer is sent in one packet either way


def decompress(body: bytes, encoding: str, max_body: int) -> bytes:
    """The body that was compressed by `encoding`.

    Raises:
        MalformedError: the encoding is none of those here, or the body is not in it.
        TooLargeError: it has more than `max_body` bytes; no more than those are ever made.
    """
    name = encoding.strip().lower()
    if name in _NONE:
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise MalformedError(f"the Content-Encoding is to be gzip or deflate, not '{encoding[:20]}'")
    decompressor = zlib.decompressobj(window)
    try:
        content = decompressor.decompress(body, max_body + 1)
    except zlib.error as error:
        raise MalformedError(f"the body is not in its Content-Encoding, {encoding}") from error
    if len(content) > max_body:
        raise TooLargeError(f"the body has more than the {max_body:,} bytes that are read, once decompressed")
    if not decompressor.eof or decompressor.unused_data:
        raise MalformedError(f"the body is not one whole stream of its Content-Encoding, {encoding}")
    return content


def compress(body: bytes, accepted: str) -> tuple[bytes, bytes | None]:
    """The body in the first encoding that an Accept-Encoding header accepts, and its name; None for none."""
    for item in accepted.split(","):
        encoding, _, weight = item.replace(" ", "").lower().partition(";q=")
        refused = bool(weight) and not weight.strip("0.")  # q=0, however many zeros it has
        if encoding in ("gzip", "deflate") and not refused:
            compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[encoding])
            return compressor.compress(body) + compressor.flush(), encoding.encode()
    return body, None
