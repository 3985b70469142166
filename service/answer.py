"""Answers of the service: their JSON, and how they are sent."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import orjson
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")

_PIECE = 8000  # numbers: orjson keeps the interpreter to itself until it is done, with these for half a millisecond


def to_json(content: Any) -> bytes:
    """JSON of plain values and NumPy arrays; a float32 has the fewest digits that give it back."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def written(content: Any) -> orjson.Fragment:
    """A part of a large answer for `to_json`, written already, so that other threads have turns between the parts."""
    return orjson.Fragment(to_json(content))


def in_pieces(values: NDArray[Any]) -> NDArray[Any] | orjson.Fragment:
    """An array for `to_json`, a large one written already: piece by piece, so that other threads have turns between."""
    return values if values.size <= _PIECE else orjson.Fragment(_list(values))


def _list(values: NDArray[Any]) -> bytes:
    return b"[%b]" % b",".join(_items(values))


def _items(values: NDArray[Any]) -> Iterator[bytes]:
    """The JSON of what an array has along its first axis, as many items at once as make a piece."""
    step = _PIECE // values[0].size
    if step:
        for start in range(0, len(values), step):
            yield to_json(values[start : start + step])[1:-1]
    else:
        yield from map(_list, values)


def json_answer(content: Any, status: int = 200) -> Response:
    """An answer of JSON."""
    return Response(to_json(content), status, media_type="application/json")


class Answer(Response):
    """A whole answer in bytes, headers included: what Starlette's makes of a content is left out, and its cost.

    Attributes:
        own_headers: those that it has beside its length.
        added: what else stands in its head where it is sent past ASGI, as it goes over the wire.
    """

    body: bytes

    def __init__(self, body: bytes, headers: tuple[Header, ...] = (JSON,), status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.own_headers = headers
        self.added = b""

    @cached_property
    def raw_headers(self) -> list[Header]:  # type: ignore[override]
        """All of them, for ASGI."""
        return [*self.own_headers, (b"content-length", b"%d" % len(self.body))]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Sends it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})
