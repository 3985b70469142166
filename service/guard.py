"""Who may ask what: whose key it is, what that is for, and whether a page of another site asks through a browser."""

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from re import Pattern

from starlette.routing import compile_path

from service.errors import ForbiddenError, UnauthenticatedError
from service.keys import Key, find
from service.origin import ANY, Fields, is_foreign, is_foreign_name
from service.scopes import OPEN, Scope, needed

KEY: ContextVar[Key | None] = ContextVar("key", default=None)
"""The key of the request that is being answered; None where none is asked for."""

_UNAUTHENTICATED = "this needs an API key that is known here, as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'"


class Guard:
    """Lets requests in, or refuses them before anything of them is read but their heads."""

    def __init__(
        self,
        keys: Sequence[Key] = (),
        routes: Iterable[str] = (),
        *,
        origins: frozenset[str] = frozenset(),
        names: frozenset[str] | None = None,
    ) -> None:
        """Without keys everybody may ask everything.

        `routes` are the templates of all paths, in the order in which they are looked at; `origins` those of pages
        that may ask; `names` those by which the service may be asked beside the ones that nobody can register, None
        for any.
        """
        self.keys = tuple(keys)
        self._routes: list[tuple[Pattern[str], str]] = [(compile_path(route)[0], route) for route in routes]
        self._origins = origins
        self._names = None if names is not None and ANY in names else names

    def route(self, path: str) -> str | None:
        """The template that a path is answered by, if any."""
        return next((route for pattern, route in self._routes if pattern.match(path)), None)

    def admit(self, path: str, method: str, fields: Fields) -> Key | None:
        """The key that a request is counted against, if any; its header fields are by name in small letters.

        Raises:
            UnauthenticatedError: it needs a key, and has none that is known.
            ForbiddenError: it comes from elsewhere, or its key is not for this.
            LimitedError: its key has asked too often.
        """
        self.check_sender(method, fields)
        if not self.keys:
            return None
        key = self.key(self.route(path), fields)
        if key is not None:
            key.spend()
        return key

    def check_sender(self, method: str, fields: Fields) -> None:
        """Sees that no page of another site asks.

        Raises:
            ForbiddenError: one does.
        """
        if self._names is not None and is_foreign_name(fields.get(b"host", b""), self._names):
            raise ForbiddenError("the Host header has a name that is not answered to; --allow-host may add it")
        if is_foreign(method, fields, self._origins):
            raise ForbiddenError("a page of another site asks; --allow-origin may let it")

    def key(self, route: str | None, fields: Fields) -> Key | None:
        """The key of a request for a route by its template, None for a path that leads to none; None of an open one.

        Raises:
            UnauthenticatedError: there is none that is known.
            ForbiddenError: it is for other things.
        """
        asked = OPEN if route is None else needed(route)
        if not self.keys or (route is not None and asked == OPEN):
            return None
        key = find(self.keys, _presented(fields))
        if key is None:
            raise UnauthenticatedError(_UNAUTHENTICATED)
        if asked and not asked & key.scopes:
            raise ForbiddenError(f"this API key is not for this, which needs the scope {' or '.join(sorted(asked))}")
        return key


def require(scope: Scope) -> None:
    """Sees that who asks may have what comes beyond that which the route is for.

    Raises:
        ForbiddenError: its key is for other things.
    """
    key = KEY.get()
    if key is not None and scope not in key.scopes:
        raise ForbiddenError(f"this API key is not for this, which needs the scope {scope}")


def _presented(fields: Fields) -> bytes:
    scheme, _, key = fields.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else fields.get(b"x-api-key", b"")
