"""`python -m service`: serves the model."""

import signal
import sys

import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from service.app import create_app
from service.log import configure_logs
from service.settings import Settings

_GRACE = 8  # seconds for requests under way when the service is to end; Docker waits for 10


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
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
    )
    # uvicorn raises the signal that ended it once more when it is done; by then all is in order.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
