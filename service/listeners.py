"""Listening sockets, several on one port (SO_REUSEPORT), among which the kernel spreads connections evenly.

A worker has several: libuv accepts one connection a socket in each turn of its loop, and a busy loop has few turns.
"""

import socket
from ipaddress import ip_address

_BACKLOG = 2048


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


def url(listening: socket.socket) -> str:
    """Where a socket listens."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
