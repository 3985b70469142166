"""What the client is tested against: a clock that leaps over waits, and a service that is a function."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import orjson

from client.transport import Reply
from tests.service.clock import Clock

Result = TypeVar("Result")


def in_no_time(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine whose waits, and those of its windows, pass at once."""
    return Clock().finish(work, "client.window")


class FakeTransport:
    """A service that is a function of what it is sent."""

    def __init__(self, answer: Callable[[str, bytes], Awaitable[Reply]]) -> None:
        self.asked = 0
        self._answer = answer

    async def send(self, _method: str, path: str, body: bytes, _headers: Mapping[str, str]) -> Reply:
        """Hands the request on."""
        self.asked += 1
        return await self._answer(path, body)

    async def close(self) -> None:
        """Nothing is held."""


def refusal(status: int, sentence: str = "no", **headers: str) -> Reply:
    """An answer that refuses."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, named, orjson.dumps({"error": sentence}))


def predictions(*digits: int, version: str = "2") -> Reply:
    """An answer that has these digits."""
    answers = [
        {
            "digit": digit,
            "confidence": 1.0,
            "rejected": False,
            "reason": None,
            "probabilities": [float(digit == each) for each in range(10)],
        }
        for digit in digits
    ]
    return Reply(200, {}, orjson.dumps({"model": {"name": "digits", "version": version}, "predictions": answers}))
