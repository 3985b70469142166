"""The command: serves the model as its flags and the environment say."""

import os
import socket
import sys
from collections.abc import Callable

import structlog
from pydantic import ValidationError
from pydantic_settings import CliApp

from service.app import create_app
from service.control import Channel, warn_of_exposed
from service.coordinator import Coordinator
from service.cpus import available_cpus
from service.engine import usable_gpu
from service.errors import DigitscopeError
from service.issue import issue
from service.keyring import Keyring
from service.listeners import allow_connections, free_port, is_loopback, listening_sockets, url
from service.log import configure_logs
from service.memory import give_memory_back
from service.server import serve
from service.serving import first
from service.settings import Settings
from service.tally import Tally, shared_rows
from service.workers import START_FAILED, Supervisor

_LISTENERS = 64  # a worker
_OPEN = (
    "service: whoever reaches {} could ask this service for anything: name a file of API keys by --api-keys "
    "(python -m service keys new makes keys), or say --insecure where something else decides who reaches it"
)
_log = structlog.get_logger("digitscope")


def main() -> int:
    """Serves until it is told to end; returns the exit status.

    0 ended in order, 2 wrong settings, 3 the model cannot be opened or the port cannot be had.
    """
    if sys.argv[1:2] == ["keys"]:
        return issue(sys.argv[2:])
    try:
        settings = CliApp.run(Settings)
        keyring = Keyring(settings.api_keys) if settings.api_keys else None
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            print(f"service: setting {name}: {problem['msg']}", file=sys.stderr)
        return 2
    except ValueError as error:  # of the keys, or of pydantic-settings
        print(f"service: {error}", file=sys.stderr)
        return 2
    return _serve(settings, keyring)


def _serve(settings: Settings, keyring: Keyring | None) -> int:
    configure_logs(settings)
    if keyring:
        warn_of_exposed(keyring)
    give_memory_back()
    allow_connections()
    workers = _workers(settings)
    port = settings.port
    try:
        if not (keyring or settings.insecure or is_loopback(settings.host)):
            print(_OPEN.format(settings.host), file=sys.stderr)
            return 2
        sockets = listening_sockets(settings.host, port, workers * _LISTENERS)
        if settings.grpc_port:
            port = settings.grpc_port
            free_port(settings.host, port)
    except OSError as error:
        _log.error(f"cannot listen on {settings.host}:{port}: {error.strerror}")
        return START_FAILED
    if workers > 1:
        return _serve_in_workers(settings, keyring, [sockets[worker::workers] for worker in range(workers)])
    app = create_app(settings, keyring=keyring)

    def ready() -> None:
        _log.info(f"running on {url(sockets[0])}", workers=1)

    started = serve(app, app.express, sockets, ready, settings.drain_delay)
    return 0 if started else START_FAILED


def _workers(settings: Settings) -> int:
    if not hasattr(os, "fork"):  # on Windows
        return 1
    if settings.workers != "auto":
        return settings.workers
    # A GPU is shared best by batches that are as large as they can be, and so by one process that gathers them.
    return 1 if usable_gpu(settings.provider) else available_cpus()


def _serve_in_workers(settings: Settings, keyring: Keyring | None, shares: list[list[socket.socket]]) -> int:
    rows = shared_rows(len(shares))
    try:
        coordinator = Coordinator(settings, first(settings), keyring)
    except DigitscopeError as error:
        _log.error(str(error))
        return START_FAILED

    def work(own: list[socket.socket], ready: Callable[[], None], channel: Channel) -> int:
        app = create_app(settings, Tally(rows, shares.index(own)), keyring, channel)
        return 0 if serve(app, app.express, own, ready, settings.drain_delay) else START_FAILED

    return Supervisor(work, shares, coordinator).run()
