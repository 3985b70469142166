"""What a connection has the service hold: the bodies that are being received, and the requests that wait."""

from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.call import FULL, declared_length
from service.errors import OverloadedError
from service.express import Express

_AHEAD = 4096  # bytes that a request takes while it waits for those before it, with a head of the usual length
SMALL_BODY = 65536  # bytes; each connection may hold as many, whatever else is held


class Held(HttpToolsProtocol):
    """uvicorn's protocol, which counts what it holds, and refuses what there is no room for."""

    # In a dict its many attributes lay far apart: with hundreds of connections a refusal cost a twelfth more.
    __slots__ = ("_address", "_ahead", "_came", "_express", "_held", "_overloaded")

    def __init__(self, express: Express, **options: Any) -> None:
        """`options` are what uvicorn makes a protocol with."""
        super().__init__(**options)
        self._express = express
        self._address: str | None = None
        self._came = 0  # bytes of the newest request's body
        self._held = 0  # bytes of bodies that count as held
        self._ahead = 0  # bytes of requests that wait, which count as held too
        self._overloaded: OverloadedError | None = None  # why the newest of them may not wait

    def _hold(self, size: int) -> OverloadedError | None:
        """Counts a body of so many bytes as held until it is answered, or says why it cannot be."""
        more = min(size, self._express.longest_body) - self._held
        if size <= SMALL_BODY or more <= 0:
            return None
        refusal = self._express.hold(self._address, more)
        if refusal is None:
            self._held += more
        return refusal

    def _size(self) -> int:
        """The bytes of the newest request's body, as far as is known."""
        return max(self._came, declared_length(dict(self.headers).get(b"content-length", b"")))

    def _count_ahead(self) -> bool:
        """Counts the requests that wait for those before them; returns whether the newest is one too many."""
        more = len(self.pipeline) * _AHEAD - self._ahead
        if more > 0:
            self._overloaded = self._express.hold(self._address, more)
            if self._overloaded is not None:
                return True
        elif more < 0:
            self._express.let_go(self._address, -more)
        self._ahead += more
        return False

    def _let_go(self) -> None:
        """No body is held any more."""
        if self._held:
            self._express.let_go(self._address, self._held)
            self._held = 0

    def _hold_for_application(self) -> None:
        """Counts a body as held, or has the application say that it cannot be; then no more of it is read."""
        refusal = self._hold(self._size())
        if refusal is not None:
            self.scope[FULL] = refusal  # type: ignore[literal-required]
            self.cycle.keep_alive = False


class Flow(FlowControl):
    """Flow control that reads nothing more while requests wait.

    uvicorn reads on behind every answer, a packet of requests for each: who sends faster than is answered could fill
    the memory.
    """

    def __init__(self, connection: HttpToolsProtocol) -> None:
        super().__init__(connection.transport)
        self._pipeline = connection.pipeline

    def resume_reading(self) -> None:
        """Reads on, if nothing waits."""
        if not self._pipeline:
            super().resume_reading()
