"""Listening sockets, several on one port (SO_REUSEPORT), among which the kernel spreads connections evenly.

A worker has several: libuv accepts one connection a socket in each turn of its loop, and a busy loop has few turns.
"""

import contextlib
import ctypes
import select
import socket
import struct
import sys
from collections.abc import Sequence
from ipaddress import ip_address

if sys.platform == "linux":
    import resource

_BACKLOG = 2048
_SO_ATTACH_FILTER = 26  # of Linux, socket(7)
_NO_SYN = (  # BPF (Linux, Documentation/networking/filter.rst) on a segment of TCP: each is code, jt, jf, k
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep it
)


def allow_connections() -> None:
    """Lets the process have as many descriptors open as the system lets it, which by default is more than it has."""
    if sys.platform == "linux":
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own alone, by all addresses that it has.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0, if nobody listens there.

    Raises:
        OSError: the address cannot be had, or another service listens on the port.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # A port that is shared is free for all who share; one that is not tells whether somebody is there.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        free: int = probe.getsockname()[1]
    return free


def listening_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that listen on one port; 0 takes a free one.

    Raises:
        OSError: the address cannot be had, or another service listens on the port.
    """
    shared = hasattr(socket, "SO_REUSEPORT")  # not on Windows
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    port = free_port(host, port)
    sockets: list[socket.socket] = []
    try:
        for _ in range(count if shared else 1):
            sockets.append(socket.socket(family))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sockets[-1].bind((host, port))
            sockets[-1].listen(_BACKLOG)
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def refuse_new(listening: socket.socket) -> None:
    """Has the system drop whatever asks for a connection from now on, where it is Linux.

    Those that stand already may be accepted still, and none is lost: who has just asked asks again a second later, and
    is refused by then, or comes to another service on the port.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    buffer = ctypes.create_string_buffer(program, len(program))
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(buffer))
        )


def are_waiting(listening: Sequence[socket.socket]) -> bool:
    """Whether connections stand that have not been accepted yet."""
    if not hasattr(select, "poll"):  # on Windows
        return False
    poll = select.poll()
    for opened in listening:
        poll.register(opened, select.POLLIN)
    return bool(poll.poll(0))


def url(listening: socket.socket) -> str:
    """Where a socket listens."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
