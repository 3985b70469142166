"""The floor of HTTP: uvicorn as the service runs it, and an application that reads the body and answers a fixed one."""

import argparse
from typing import Any

import uvicorn


class Fixed:
    """A bare ASGI application that has nothing to compute."""

    def __init__(self, size: int) -> None:
        self._start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(size).encode()), (b"content-type", b"application/json")],
        }
        self._body = {"type": "http.response.body", "body": b"7" * size}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 — ASGI calls it so
        """Reads a request to its end and answers."""
        while (await receive()).get("more_body"):
            pass
        await send(self._start)
        await send(self._body)


def main() -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, required=True, help="bytes of the answer")
    options = parser.parse_args()
    uvicorn.run(
        Fixed(options.size),
        port=options.port,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
