"""Connections that are looked at once a second: whether the other side keeps pace, and whether work takes too long."""

from typing import Any

from service.errors import DeadlineError
from service.express import Express
from service.pace import RATE, Pace
from service.refusal import TOO_LATE
from service.wire.leaving import Leaving


class Watched(Leaving):
    """A protocol that ends the connection of who sends or reads too slowly."""

    __slots__ = ("_pace",)

    def __init__(self, express: Express, **options: Any) -> None:
        """`options` are what uvicorn makes a protocol with."""
        super().__init__(express, **options)
        self._pace = Pace(express.patience, self.loop.time())

    def pause_writing(self) -> None:
        """What is written waits to be read."""
        self._express.unsent.outlets.add(self._whole)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has been read."""
        self._express.unsent.outlets.discard(self._whole)
        self._pace.went_on(0, self.loop.time())
        super().resume_writing()

    def watch(self, now: float) -> None:
        """Ends the connection if the other side does not keep pace; to be called once a second."""
        held_up = self.flow.write_paused or self._whole.is_closing()
        if self._pace.is_unread(self._whole.unread() if held_up else 0, now):
            self._express.unread(408, "Slow")
            self._whole.abort()
        elif not self._whole.is_closing():
            self._end_work(self._express.timeout)
            self._watch_sender(now)

    def _watch_sender(self, now: float) -> None:
        is_new = not (self._begun or self.cycle)
        if self.flow.read_paused or not (is_new or self._begun):
            self._pace.rested(now)
            return
        waited = self._pace.waited(self.scope, now)
        if is_new:
            if self._pace.is_late(waited) and not self._whole.is_waiting():
                self.transport.close()
        elif self._in_head:
            if self._pace.is_late(waited):
                self._refuse(408, f"the head of the request did not come within {self._express.patience:g} s", "Slow")
        elif self._order is not None and waited > self._order.timeout:
            self._end_early(DeadlineError(TOO_LATE))
        elif self._pace.is_slow(waited, self._came):
            self._refuse(408, f"the body of the request comes at less than {RATE:,} bytes a second", "Slow")
