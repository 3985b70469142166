"""ASGI middleware that sees every request: its id, its time, its count, and the limit of its body."""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLargeError
from service.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GONE = 499  # as nginx notes a client that has gone before its answer
_log = structlog.get_logger("digitscope.access")


class Observe:
    """Gives each request an id, counts it and its time, and logs it where that is asked for.

    What nothing within has caught is logged beside the request's id and answered by `failure`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, *, access_log: bool, failure: ASGIApp) -> None:
        self._app = app
        self._metrics = metrics
        self._access_log = access_log
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        asked = Headers(scope=scope).get("X-Request-ID", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                status = _GONE
            except Exception:  # whatever it is
                _log.exception("request failed")
                if status is not None:  # half an answer cannot be taken back, so the connection is to end
                    raise
                await self._failure(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                # The template and not the path: a label for each path that somebody invents would fill the memory.
                route = getattr(scope.get("route"), "path", "unknown")
                self._metrics.requests.labels(route, _known(scope["method"]), status or 500).inc()
                self._metrics.seconds.labels(route).observe(seconds)
                if self._access_log:
                    _log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"


class BodyLimit:
    """Refuses a body beyond a limit before it is read, or as soon as it grows beyond it."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, its body counted as it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("Content-Length", "0")
        length = int(declared) if declared.isdecimal() else 0
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            if length <= self._max_body:
                message = await receive()
                received += len(message.get("body", b""))
                if received <= self._max_body:
                    return message
            raise TooLargeError(f"the body has more than the {self._max_body:,} bytes that are read")

        await self._app(scope, receive_limited, send)
