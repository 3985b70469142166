"""A mirror on this machine that misbehaves as asked."""

import re
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = b"".join(number.to_bytes(4) for number in range(64_000))
PAGE = b"<!doctype html><title>Sign in</title>"


class Mirror(ThreadingHTTPServer):
    """Serves `content` below /range with ranges, below /plain without, and nothing elsewhere.

    Below /cut it ends after half of what was asked for, below /unsaid too without having said a length, below /never
    no range is right, and below /page it serves a page instead.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.asked: list[tuple[str, str | None]] = []  # path and range

    def url(self, manner: str) -> str:
        """The base URL of a mirror that behaves in that manner."""
        return f"http://127.0.0.1:{self.server_port}/{manner}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Mirror

    def do_GET(self) -> None:
        """Answers by the first part of the path."""
        manner, wanted = self.path.split("/")[1], self.headers["Range"]
        self.server.asked.append((self.path, wanted))
        content = PAGE if manner == "page" else self.server.content
        if manner not in ("range", "plain", "cut", "unsaid", "never", "page"):
            self.send_error(404)
            return
        first = 0
        if wanted and manner != "plain":
            found = re.fullmatch(r"bytes=(\d+)-", wanted)
            assert found
            first = int(found[1])
        if first >= len(content) or manner == "never":
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        rest = content[first:]
        if manner != "unsaid":
            self.send_header("Content-Length", str(len(rest)))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if manner in ("cut", "unsaid") else rest)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
        """Says nothing."""


def dead_mirror() -> str:
    """The URL of a port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"
