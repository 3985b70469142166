"""Answers as JSON, arrays included."""

from typing import Any

import orjson
from starlette.responses import Response


def to_json(content: Any) -> bytes:
    """JSON of plain values and NumPy arrays; a float32 has the fewest digits that give it back."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def json_answer(content: Any, status: int = 200) -> Response:
    """An answer of JSON."""
    return Response(to_json(content), status, media_type="application/json")
