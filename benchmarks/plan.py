"""What is measured: the servers, and the points of each."""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpus import Cpus
from benchmarks.digits import model_folder
from benchmarks.peer import OPENVINO, PEERS, Peer
from benchmarks.server import Server

CONNECTIONS = (1, 16, 64)
MANY = 256
"""Images of a large request, the most that the service takes by default."""

RATES = (0.3, 0.5, 0.7, 0.9, 1.0, 1.2, 1.5)
"""Of open-loop load, in parts of the saturation that was measured just before."""

CLAIMED_RATES = frozenset({0.7, 1.5})
"""The rates that a claim rests on."""


@dataclass(frozen=True)
class Point:
    """One load: a form, images a request, connections."""

    form: str
    images: int
    connections: int

    def key(self, server: str) -> str:
        """The name of its figure."""
        return f"{server}/{self.form}/{self.images}/{self.connections}"


@dataclass(frozen=True)
class Measured:
    """A server with all that is measured on it: its points, and the open-loop rates relative to saturation."""

    server: Server
    points: tuple[Point, ...]
    rates: tuple[float, ...] = ()
    peer: Peer | None = None


CLAIMED = frozenset(
    {
        "floor/floor/1/1", "floor/floor/1/64",
        "digitscope/raw/1/1", "digitscope/raw/1/64", "digitscope/oip-binary/1/64", "digitscope/png/1/64",
        "digitscope/raw/256/16", "digitscope/oip-binary/256/16",
        "digitscope-int8/raw/1/64", "digitscope-2/raw/1/64", "digitscope-2/raw/1/128",
        "fastapi_plain/plain-upload/1/64", "pytriton/oip-binary/1/64",
    }
)  # fmt: skip
"""The points that a claim rests on: they have the full time, others a third of it, or what many images need."""


def _points(form: str, images: int = 1, connections: tuple[int, ...] = CONNECTIONS) -> tuple[Point, ...]:
    return tuple(Point(form, images, number) for number in connections)


def plan(cpus: Cpus, answer_size: int = 0) -> list[Measured]:
    """Every server there is to measure; `answer_size` is that of the service's answer to one raw digit, in bytes."""
    one, many = cpus.server, cpus.both
    service = [
        Measured(
            service_server("digitscope", "digitscope", one),
            (
                *_points("raw"), *_points("oip-binary"), *_points("oip-json"), *_points("png"),
                *_points("png-multipart", connections=(64,)),
                *_points("raw", MANY), *_points("oip-binary", MANY),
            ),
            RATES,
        ),
        Measured(
            service_server("digitscope-int8", "digitscope, int8", one, "--precision", "int8"),
            (*_points("raw"), *_points("raw", MANY, (1,))),
        ),
        Measured(
            service_server(
                "digitscope-openvino", "digitscope, int8 by OpenVINO", one,
                "--precision", "int8", "--runtime", "openvino", python=OPENVINO.python,
            ),
            (*_points("raw"), *_points("raw", MANY, (1,))),
            peer=OPENVINO,
        ),
        Measured(
            service_server("digitscope-2", "digitscope, 2 workers on both CPUs", many, workers=2),
            (
                *_points("raw", connections=(16, 64, 128)), *_points("oip-binary", connections=(64,)),
                *_points("png", connections=(64,)), *_points("raw", MANY, (1,)),
            ),
        ),
    ]  # fmt: skip
    floor_command = (sys.executable, "-m", "benchmarks.asgi_floor", "--port", "{port}", "--size", str(answer_size))
    floor = Measured(Server("floor", "bare ASGI application", floor_command, one), _points("floor"))
    return [floor, *service, *(_measured_peer(peer, one) for peer in PEERS)]


def service_server(
    name: str, title: str, cpus: int | str, *flags: str, workers: int = 1, python: Path | str = sys.executable
) -> Server:
    """This service on the CPU, one thread a worker."""
    command = (str(python), "-m", "service", "--port", "{port}", "--provider", "cpu", "--threads", "1")
    return Server(name, title, (*command, "--workers", str(workers), *flags), cpus)


def peer_server(peer: Peer, cpu: int) -> Server:
    """A peer on one CPU, out of its own environment."""
    command = (str(peer.environment / "bin" / peer.command[0]), *peer.command[1:])
    environment = {
        "BENCH_MODEL": str(model_folder() / "model.onnx"),
        "BENCH_PORT": "{port}",
        "MLSERVER_HTTP_PORT": "{port}",
        "MLSERVER_GRPC_PORT": "0",
        "BENTOML_DO_NOT_TRACK": "true",
    }
    return Server(peer.name, peer.title, command, cpu, environment)


def _measured_peer(peer: Peer, cpu: int) -> Measured:
    points = tuple(point for form in peer.forms for point in _points(form))
    return Measured(peer_server(peer, cpu), points, peer=peer)
