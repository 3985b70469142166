"""The API opened to pages of other origins on purpose: what the guard lets them ask, browsers let them read.

Before most requests to another origin a browser asks whether it may send them (a preflight of CORS,
https://fetch.spec.whatwg.org/#http-cors-protocol). Such a question has no key, and is answered by what may be at all;
but it is counted, logged and shielded as every request is.
"""

import time
from collections.abc import Mapping, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.call import STARTED
from service.caller import caller_of
from service.errors import DigitscopeError, ForbiddenError
from service.journal import Journal
from service.metrics import UNKNOWN
from service.origin import ANY
from service.refusal import refusal
from service.shield import shielded
from service.state import State

_METHODS = ("GET", "HEAD", "POST")
_READ = (
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
    "Traceresponse",
    "Inference-Header-Content-Length",
    "X-Digitscope-Model",
)
_METHOD = b"access-control-request-method"
_PRIVATE_NETWORK = b"access-control-request-private-network"


class Opened:
    """Answers preflights, and has the answers to pages of some origins say that these may read them."""

    def __init__(self, front: ASGIApp, origins: Sequence[str], shared: State, journal: Journal) -> None:
        """`front` is what answers all else."""
        self._cors = CORSMiddleware(
            front, allow_origins=origins, allow_methods=_METHODS, allow_headers=["*"], expose_headers=_READ
        )
        self._origins = frozenset(origins)
        self._shared = shared
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a preflight, or passes a request on."""
        fields = dict(scope["headers"]) if scope["type"] == "http" and scope["method"] == "OPTIONS" else {}
        if b"origin" in fields and _METHOD in fields:
            await self._preflight(fields, scope, receive, send)
        else:
            await self._cors(scope, receive, send)

    async def _preflight(self, fields: Mapping[bytes, bytes], scope: Scope, receive: Receive, send: Send) -> None:
        started = scope.setdefault(STARTED, time.perf_counter())
        client = scope.get("client")
        caller = caller_of(client[0]) if client else None
        ticket = self._journal.ticket(fields, "OPTIONS", scope["path"], started, caller)
        status = 500

        async def shielding(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = shielded([*message["headers"], *ticket.headers])
            await send(message)

        try:
            self._check(fields)
            # Each field once, as it was checked: of several Starlette looks at another.
            await self._cors({**scope, "headers": [*fields.items()]}, receive, shielding)
        except DigitscopeError as error:
            await refusal(error, self._shared.metrics)(scope, receive, shielding)
        finally:
            ticket.end(self._shared.guard.route(scope["path"]) or UNKNOWN, status)

    def _check(self, fields: Mapping[bytes, bytes]) -> None:
        """Sees that what a page is about to ask may be asked.

        Raises:
            ForbiddenError: it may not.
        """
        self._shared.guard.check_sender("OPTIONS", fields)
        if ANY not in self._origins and fields[b"origin"].decode("latin-1") not in self._origins:
            raise ForbiddenError("pages of this origin may not ask; --allow-origin may let them")
        if fields[_METHOD].decode("latin-1") not in _METHODS:
            raise ForbiddenError(f"pages elsewhere may ask by {', '.join(_METHODS)} alone")
        if _PRIVATE_NETWORK in fields:
            raise ForbiddenError("pages of a public network may not ask what is on a private one")
