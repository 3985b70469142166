"""`python -m service`: serves the model."""

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import structlog
import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from service.app import create_app
from service.cpus import available_cpus
from service.engine import usable_gpu
from service.log import configure_logs
from service.settings import Settings
from service.tally import shared_tally
from service.workers import START_FAILED, Supervisor, listening_sockets

_GRACE = 8  # seconds for requests under way when the service is to end; Docker waits for 10
_log = structlog.get_logger("digitscope")


def main() -> int:
    """Serves until it is told to end; returns the exit status.

    0 ended in order, 2 wrong settings, 3 the model cannot be opened or the port cannot be had.
    """
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            print(f"service: setting {name}: {problem['msg']}", file=sys.stderr)
        return 2
    except SettingsError as error:
        print(f"service: {error}", file=sys.stderr)
        return 2
    configure_logs(settings)
    workers = _workers(settings)
    return _serve(settings) if workers == 1 else _serve_in_workers(settings, workers)


def _workers(settings: Settings) -> int:
    if settings.workers != "auto":
        return settings.workers
    # A GPU is shared best by batches that are as large as they can be, and so by one process that gathers them.
    return 1 if usable_gpu(settings.provider) else available_cpus()


def _serve_in_workers(settings: Settings, workers: int) -> int:
    try:
        sockets = listening_sockets(settings.host, settings.port, workers)
    except OSError as error:
        _log.error(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
        return START_FAILED
    tally = shared_tally(workers)
    try:
        return Supervisor(lambda own, ready: _serve(settings, tally, own, ready), sockets).run()
    finally:
        tally.unlink()


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def _serve(
    settings: Settings,
    tally: Path | None = None,
    own: socket.socket | None = None,
    ready: Callable[[], None] = lambda: None,
) -> int:
    """Serves in this process, on a socket of its own where it is one of several."""
    server = _Server(
        uvicorn.Config(
            create_app(settings, tally),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        ),
        ready,
    )
    # For signals before uvicorn takes them: it ends then as soon as it has started. And when it is done it raises the
    # one that ended it once more, for which there is nothing left to do.
    signal.signal(signal.SIGTERM, server.handle_exit)
    signal.signal(signal.SIGINT, server.handle_exit)
    server.run(None if own is None else [own])
    return 0 if server.started else START_FAILED


if __name__ == "__main__":
    sys.exit(main())
