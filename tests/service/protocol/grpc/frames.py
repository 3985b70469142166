"""A client of HTTP/2's frames alone (RFC 9113, RFC 7541), which sends what no client of gRPC's would."""

import socket
import struct

from tests.service.protocol.grpc.calling import PATIENCE

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


PING = frame(6, 0, 0, b"8 octets")
"""Asks whether what was sent before has come."""
PONG = frame(6, 1, 0, b"8 octets")
"""Its answer."""


def _literal(name: bytes, value: bytes) -> bytes:
    assert len(name) < 127 and len(value) < 127
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def opening(path: bytes, *metadata: tuple[bytes, bytes]) -> bytes:
    """What opens a connection, and a call on it."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *metadata,
    )
    head = b"".join(_literal(*each) for each in fields)
    settings = frame(_SETTINGS, 0, 0) + frame(_SETTINGS, _ACK, 0)
    return _PREFACE + settings + frame(_HEADERS, _END_HEADERS, 1, head)


def data(payload: bytes, *, last: bool = True) -> bytes:
    """Bytes of the call's message, or of its length in front of it."""
    return frame(_DATA, _END_STREAM if last else 0, 1, payload)


def call(port: int, path: bytes, *metadata: tuple[bytes, bytes]) -> bytes:
    """Makes a call with an empty message on a connection of its own, and gives what comes until it has a status."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as wire:
        wire.sendall(opening(path, *metadata) + data(bytes(5)))
        came = b""
        while b"grpc-status" not in came and (more := wire.recv(65536)):
            came += more
    return came
