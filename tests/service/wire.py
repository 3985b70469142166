"""HTTP as bytes on a socket, for what no client library would send."""

import http.client
import io
import json
import socket
from types import TracebackType
from typing import Any, NamedTuple

import httpx


class _Kept(io.BufferedReader):
    """What is read of a connection, by one answer after the other."""

    def close(self) -> None:
        """Stays open: `http.client` closes it after each answer."""


class _Socket:
    def __init__(self, reader: _Kept) -> None:
        self._reader = reader

    def makefile(self, _mode: str) -> _Kept:
        """As `http.client` asks for it."""
        return self._reader


class Answer(NamedTuple):
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Wire:
    """A connection to a server of the tests."""

    def __init__(self, client: httpx.Client) -> None:
        self.socket = socket.create_connection((client.base_url.host, client.base_url.port or 80), 60)
        self._raw = socket.SocketIO(self.socket, "r")
        self._reader = _Kept(self._raw)

    def __enter__(self) -> "Wire":
        """The connection."""
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._raw.close()
        io.BufferedReader.close(self._reader)
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Sends bytes as they are."""
        for part in parts:
            self.socket.sendall(part)

    def answer(self, method: str = "POST") -> Answer:
        """The next answer."""
        response = http.client.HTTPResponse(_Socket(self._reader), method=method)  # type: ignore[arg-type]
        response.begin()
        body = response.read()
        return Answer(response.status, {name.title(): value for name, value in response.getheaders()}, body)

    def ended(self) -> bool:
        """Whether the server has closed the connection; it waits for that or for a byte."""
        return self._reader.read(1) == b""


def head(method: str, path: str, *fields: str) -> bytes:
    """The head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *fields, "", "")).encode("latin-1")


def chunked(*parts: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
