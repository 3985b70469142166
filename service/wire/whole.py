"""A transport as the connections write to it: heads wait for their bodies, and ends wait for what still comes."""

import asyncio
import contextlib
import os
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

if sys.platform == "linux":
    import fcntl
    import termios


class Whole:
    """A transport that holds the head of an answer until its body comes, and sends both together.

    uvicorn writes them one by one, which makes two system calls, two segments and two wake-ups of the client.
    """

    __slots__ = ("_end", "_head", "_transport", "is_closing", "write_at_once")

    def __init__(self, transport: asyncio.Transport, end: Callable[[asyncio.Transport], None]) -> None:
        """`end` ends the connection behind what has been written."""
        self._transport = transport
        self._end = end
        self._head = b""
        self.write_at_once = transport.write
        self.is_closing = transport.is_closing  # found without __getattr__, which is slow

    def write(self, data: bytes) -> None:
        """Sends data, with the head that waited for it; a head waits."""
        if self.is_closing():
            return  # nobody reads it, and uvloop would raise
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):  # an interim answer has no body
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Sends a head that no body came for."""
        if self._head and not self.is_closing():
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Ends the connection, once everything is sent."""
        if not self.is_closing():
            self.flush()
            self.is_closing = _certainly
            self._end(self._transport)

    def get_write_buffer_size(self) -> int:
        """How many bytes have not been handed to the system yet."""
        return self._transport.get_write_buffer_size()

    def unread(self) -> int:
        """How many bytes the other side has not taken yet, those that the system has among them.

        The system asks for more only when a third of its megabytes is free, so that what is here says little of a
        reader's pace.
        """
        opened = self._transport.get_extra_info("socket")
        taken = b"\0\0\0\0"
        if opened is not None and sys.platform == "linux":
            with contextlib.suppress(OSError):
                taken = fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, taken)
        return self._transport.get_write_buffer_size() + int.from_bytes(taken, sys.byteorder)

    def cut(self) -> None:
        """Ends the connection, once everything is sent, and reads nothing more."""
        self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once. Not even the system keeps what has not been read."""
        opened = self._transport.get_extra_info("socket")
        if opened is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(opened.fileno())) as copied:
                copied.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def is_waiting(self) -> bool:
        """Whether something has come that has not been read."""
        opened = self._transport.get_extra_info("socket")
        if opened is None or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(opened.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _certainly() -> bool:
    return True
