"""Requests of every kind that a service in use gets, with the rate at which they come and the answer that is right."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from benchmarks.digits import digits, png
from benchmarks.form import form
from benchmarks.plan import MANY
from benchmarks.server import HOST


@dataclass(frozen=True)
class Stream:
    """Requests of one kind.

    Attributes:
        rate: a second.
        status: the only one that is right.
        connections: the most that are open.
    """

    requests: Callable[[], list[bytes]]
    rate: float
    status: int = 200
    connections: int = 32


def _get(target: str) -> Callable[[], list[bytes]]:
    return lambda: [f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()]


def _post(target: str, kind: str, *bodies: bytes) -> Callable[[], list[bytes]]:
    head = f"POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\nContent-Length: %d\r\n\r\n".encode()
    return lambda: [head % len(body) + body for body in bodies]


def _form(name: str, images: int = 1) -> Callable[[], list[bytes]]:
    return lambda: form(name, images).requests(HOST)


def _bomb() -> bytes:
    """A picture of a few kB that unpacks to many pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


def streams() -> dict[str, Stream]:
    """All kinds, by name. Together they take about half of one CPU."""
    digit = png(digits(1)[0])
    return {
        "one prepared digit": Stream(_form("raw"), 1000),
        "one digit, OIP binary": Stream(_form("oip-binary"), 500),
        "one digit, OIP JSON": Stream(_form("oip-json"), 100),
        "one PNG": Stream(_form("png"), 300),
        "one PNG, multipart": Stream(_form("png-multipart"), 50),
        "one photograph": Stream(_form("photo"), 2, connections=4),
        f"{MANY} prepared digits": Stream(_form("raw", MANY), 4, connections=4),
        "a sheet of feature maps": Stream(_post("/v1/features?layer=conv1", "image/png", digit), 0.5, connections=1),
        "a trace": Stream(_post("/v1/trace?layer=fc1&channel=0", "image/png", digit), 0.5, connections=1),
        "the page": Stream(_get("/"), 2),
        "readiness": Stream(_get("/v2/health/ready"), 10),
        "metrics": Stream(_get("/metrics"), 1),
        "statistics": Stream(_get("/v2/models/digits/stats"), 1),
        "half a PNG": Stream(_post("/v1/predict", "image/png", digit[: len(digit) // 2]), 20, 415),
        "a bomb": Stream(_post("/v1/predict", "image/png", _bomb()), 2, 413),
        "broken JSON": Stream(_post("/v2/models/digits/infer", "application/json", b'{"inputs": [{'), 20, 400),
        "an unknown path": Stream(_get("/nothing/here"), 10, 404),
    }
