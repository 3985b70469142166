"""Compressed bodies (RFC 9110, section 8.4.1): gzip, and deflate in zlib's format, within limits."""

import re
import zlib

from service.errors import MalformedError, TooLargeError

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_NONE = ("", "identity")
_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")
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
    """The body in the encoding that an Accept-Encoding header wants most (RFC 9110, section 12.5.3), and its name.

    The name is None where none of those here is wanted, and the body as it was.
    """
    wanted: dict[str, float] = {}
    for item in accepted.lower().split(","):
        encoding, _, weight = item.replace(" ", "").partition(";q=")
        wanted[encoding] = float(weight) if _WEIGHT.fullmatch(weight) else 1.0
    known = {name: wanted.get(name, wanted.get("*", 0.0)) for name in ("gzip", "deflate")}
    encoding = max(known, key=lambda name: known[name])  # gzip where both are wanted alike
    if not known[encoding]:
        return body, None
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[encoding])
    return compressor.compress(body) + compressor.flush(), encoding.encode()
