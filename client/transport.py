"""How a request goes to the service and its answer comes back: one narrow protocol, and HTTP by httpx."""

import asyncio
import os
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import httpx

from client.errors import LostError, RunError

KEY_VARIABLE = "DIGITSCOPE_API_KEY"
_CONNECT = 5.0  # seconds


class Reply(NamedTuple):
    """An answer; the names of its headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """What a client needs of the way to the service; a test, or another library, can put its own here."""

    async def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer to one request, asked once.

        Raises:
            LostError: there was none.
            RunError: there can be none, as of an address that is wrong.
        """
        ...

    async def close(self) -> None:
        """Lets go of its connections."""
        ...


class HttpTransport:
    """HTTP/1.1 with connections that are kept."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout` is in seconds, for a request and its whole answer; `transport` stands in for httpx's own.

        The key is the one of the environment's `DIGITSCOPE_API_KEY` unless it is given, and goes with every request.

        Raises:
            RunError: the address is none of HTTP, or names a user; or the key has what none has.
        """
        key = (os.environ.get(KEY_VARIABLE, "") if key is None else key).strip()
        headers = {"Accept-Encoding": "identity", "User-Agent": "digitscope-batch"}
        if not all("!" <= letter <= "~" for letter in key):
            raise RunError(f"the key in {KEY_VARIABLE} has characters that are no visible ones of ASCII")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if "@" in url:  # also where what is before it is not taken for a user
            raise RunError(f"the address of the service is to have no user or password: a key goes into {KEY_VARIABLE}")
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise RunError(f"'{url}' is no address: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise RunError(f"'{url}' is no address of a service, such as http://127.0.0.1:8000")
        self._url = url
        self._timeout = timeout
        self._client = httpx.AsyncClient(
            base_url=address,
            headers=headers,
            timeout=httpx.Timeout(None, connect=min(timeout, _CONNECT)),
            # The window says how many; what is idle is closed before the service would do it.
            limits=httpx.Limits(max_connections=None, keepalive_expiry=2.0),
            transport=transport,
        )

    async def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer to one request, asked once.

        Raises:
            LostError: there was none, or one that cannot be read.
            RunError: the address can be none of a service, or the request none of HTTP.
        """
        try:
            async with asyncio.timeout(self._timeout):  # httpx's own begin anew with each piece
                answer = await self._client.request(method, path, content=body, headers=dict(headers))
        except TimeoutError as error:
            raise LostError(f"no answer in {self._timeout:g} s") from error
        except httpx.TimeoutException as error:
            raise LostError(f"no answer in time ({type(error).__name__})") from error
        except httpx.UnsupportedProtocol as error:
            raise RunError(f"'{self._url}' is no address of a service: {error}") from error
        except httpx.LocalProtocolError:  # whose text has the header that is wrong, which may be the key's
            raise RunError("the request has a header or an address that HTTP does not allow") from None
        except httpx.RequestError as error:
            raise LostError(f"the connection failed ({type(error).__name__}: {error})") from error
        return Reply(answer.status_code, {name.lower(): text for name, text in answer.headers.items()}, answer.content)

    async def close(self) -> None:
        """Lets go of its connections."""
        await self._client.aclose()
