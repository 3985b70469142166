"""Asks once more for what a replica took with it when it died, in Ray Serve's proxy.

When a replica dies, the proxy answers the requests that it was at work on by a bare 500, or by nothing. All that this
service does may be done twice, since it keeps nothing of a request; so these are asked of another replica.
"""

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ATTEMPTS = 3  # a request that kills whoever answers it is not to kill all
_LONGEST = 2**20  # bytes of a body that is kept for another attempt


def middlewares() -> list[Middleware]:
    """What `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` is to name."""
    return [Middleware(Again)]


class Again:
    """Asks an application again that ended without the beginning of an answer, up to three times in all.

    What cannot be asked again, for its body has more than 1 MiB, or was asked in vain, is answered by 503, after which
    the one who asked may do it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes on what is none of HTTP."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(receive)
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        for _ in range(_ATTEMPTS):
            # Copies, as each attempt adds its own headers.
            await self._app({**scope, "headers": list(scope["headers"])}, request.from_start(), note)
            if begun or request.gone:
                return
            if request.forgotten:
                break
        sentence = "the replica that was to answer died: ask again"
        await JSONResponse({"error": sentence}, 503, {"Retry-After": "1"})(scope, request.from_start(), send)


class _Request:
    """The messages of a request, which can be received from the first on again.

    Attributes:
        gone: whether the one who asked has left.
        forgotten: whether they were too long to be kept.
    """

    def __init__(self, receive: Receive) -> None:
        self.gone = self.forgotten = False
        self._receive = receive
        self._kept: list[Message] = []
        self._size = 0

    def from_start(self) -> Receive:
        """Receives what was kept, and then what comes."""
        kept = iter(tuple(self._kept))

        async def receive() -> Message:
            for message in kept:
                return message
            message = await self._receive()
            self.gone = self.gone or message["type"] == "http.disconnect"
            self._keep(message)
            return message

        return receive

    def _keep(self, message: Message) -> None:
        self._size += len(message.get("body", b""))
        if self._size > _LONGEST:
            self.forgotten = True
            self._kept.clear()
        elif message["type"] == "http.request":
            self._kept.append(message)
