"""Messages between two processes, for which neither ever waits.

What the other does not take yet is kept, however much it is, and sent when it does; what has come in part is kept until
it is whole. So a process that is stopped stops nobody else.
"""

import json
import socket
from collections import deque
from typing import Any, Self

Message = dict[str, Any]
"""Values that JSON has."""

_CHUNK = 65536  # bytes that are taken at once


class Pipe:
    """One of the two ends, to be waited for as a file is. On its way a message is a line of JSON."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._waiting: deque[Message] = deque()
        self._begun = memoryview(b"")  # what is still to be sent of the message that was sent last
        self._half = bytearray()

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Both ends."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    @property
    def unsent(self) -> bool:
        """Whether something is kept, for `send` to be called when the other end takes more."""
        return bool(self._begun or self._waiting)

    def fileno(self) -> int:
        """What is waited for; -1 once it is closed."""
        return self._end.fileno()

    def close(self) -> None:
        """Closes this end; the other hears of it."""
        self._end.close()

    def say(self, message: Message, *, supersedes: bool = False) -> None:
        """Sends a message after those before it, or keeps it; nothing becomes of it when the other end is closed.

        One that supersedes takes the place of those to `do` the same of which nothing has been sent yet.
        """
        if supersedes:
            self._waiting = deque(other for other in self._waiting if other["do"] != message["do"])
        self._waiting.append(message)
        self.send()

    def send(self) -> None:
        """Sends as much of what is kept as can be sent now."""
        try:
            while self.unsent:
                if not self._begun:
                    self._begun = memoryview(json.dumps(self._waiting.popleft()).encode() + b"\n")
                self._begun = self._begun[self._end.send(self._begun) :]
        except BlockingIOError:
            pass
        except OSError:  # the other has ended
            self._begun = memoryview(b"")
            self._waiting.clear()

    def hear(self) -> list[Message]:
        """The messages that are whole by now.

        Raises:
            EOFError: the other end is closed.
            OSError: so is this one.
        """
        try:
            come = self._end.recv(_CHUNK)
        except BlockingIOError:
            return []
        if not come:
            raise EOFError
        self._half += come
        if b"\n" not in come:
            return []
        *whole, self._half = self._half.split(b"\n")
        return [json.loads(line) for line in whole]
