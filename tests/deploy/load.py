"""Asks a service without pause until it is told to end, and counts every answer.

`python -m tests.deploy.load URL [KIND…]`: each thread sends one kind of request again and again, every second thread
each on a connection of its own. Nothing is asked for twice: what fails has failed, be it a refused connection, a status
other than 200, or another digit than seven. A line says when every kind has been answered, the last ones what became
of all.
"""

import http.client
import io
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

_SEVEN = Path(__file__).parents[1] / "data" / "seven.png"
_THREADS = 4  # of each kind
_PATIENCE = 30  # seconds for one answer


def requests() -> dict[str, tuple[str, bytes]]:
    """By its name, the content type and the body of each kind of request; every one shows sevens."""
    picture = _SEVEN.read_bytes()
    seven = Image.open(io.BytesIO(picture)).convert("L")
    # Beyond what the proxy keeps for another try, and a photograph's usual size: only an orderly end helps it.
    large = io.BytesIO()
    seven.resize((800, 800)).save(large, "BMP")
    digit = np.asarray(seven.resize((28, 28)))
    prepared = (digit if digit.mean() < 128 else 255 - digit).tobytes()
    return {
        "picture": ("image/png", picture),
        "large picture": ("image/bmp", large.getvalue()),
        "256 digits": ("application/octet-stream", prepared * 256),
        "digit": ("application/octet-stream", prepared),
    }


class Load:
    """Threads that ask, and what became of their requests.

    Attributes:
        answered: requests that were answered right, by kind.
        failed: the others, by kind and what happened.
        slowest: seconds that the slowest answer took, by kind.
    """

    def __init__(self, url: str, kinds: Sequence[str]) -> None:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        self._address = (host or "", port or 80)
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.slowest = dict.fromkeys(kinds, 0.0)
        self._threads = [
            threading.Thread(target=self._ask, args=(kind, *request, bool(index % 2)))
            for kind, request in requests().items()
            if kind in kinds
            for index in range(_THREADS)
        ]

    def run(self) -> None:
        """Asks until it is told to end, and waits for the last answers."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def end(self) -> None:
        """Has no further request sent."""
        self._ends.set()

    def _ask(self, kind: str, content_type: str, body: bytes, lasting: bool) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=_PATIENCE)
        while not self._ends.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", "/v1/predict", body, {"content-type": content_type})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 200:
                    happened = f"{answer.status} {said[:200]!r}"
                else:
                    happened = "" if said.count(b'"digit":7') == said.count(b'"digit"') > 0 else "another digit"
            except (OSError, http.client.HTTPException) as error:
                happened = repr(error)
            with self._lock:
                if happened:
                    self.failed[f"{kind}: {happened}"] += 1
                else:
                    self.answered[kind] += 1
                self.slowest[kind] = max(self.slowest[kind], time.monotonic() - began)
                if self.answered[kind] == 1 and len(self.answered) == len(self.slowest):
                    sys.stdout.write("every kind has been answered\n")
                    sys.stdout.flush()
            if happened or not lasting:
                connection.close()
        connection.close()


def main() -> int:
    """Asks for all kinds, or for those named; returns 1 if a request failed, or if a kind had no answer."""
    url, *kinds = sys.argv[1:]
    kinds = kinds or list(requests())
    load = Load(url, kinds)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: load.end())
    load.run()
    for kind in kinds:
        sys.stdout.write(f"{kind}: {load.answered[kind]:,} answered, the slowest after {load.slowest[kind]:.2f} s\n")
    for happened, times in load.failed.most_common():
        sys.stdout.write(f"{times} × {happened}\n")
    return 1 if load.failed or len(load.answered) < len(kinds) else 0


if __name__ == "__main__":
    sys.exit(main())
