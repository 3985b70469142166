"""How fast the other side of a connection sends and reads, looked at once a second: that costs its requests nothing."""

RATE = 1000  # bytes a second, of a body or of an answer: less is no pace that anybody is waited for


class Pace:
    """The pace on one connection, told by someone who looks at it again and again; times in seconds, on one clock."""

    __slots__ = ("_patience", "_request", "_since", "_stalled", "_unsent")

    def __init__(self, patience: float, now: float) -> None:
        """`patience` is how long one waits at least; `now` is when the connection was made."""
        self._patience = patience
        self._request: object = None  # which was being sent when it was looked at last; None is the first one
        self._since = now  # when that was first seen
        self._unsent = 0  # bytes that waited to be read, when it was looked at last
        self._stalled = now  # since when they have hardly become fewer

    def rested(self, now: float) -> None:
        """Nothing is being sent that would have to be waited for."""
        self._request, self._since = self, now  # no request is that

    def waited(self, request: object, now: float) -> float:
        """How long a request has been waited for whose end has not come; `request` is told from others by identity."""
        if request is not self._request:
            self._request, self._since = request, now
        return now - self._since

    def is_late(self, waited: float) -> bool:
        """Whether a head is waited for in vain."""
        return waited > self._patience

    def is_slow(self, waited: float, came: int) -> bool:
        """Whether a body of which so many bytes have come comes too slowly."""
        return came < RATE * (waited - self._patience)

    def is_unread(self, unsent: int, now: float) -> bool:
        """Whether what has been written is hardly being read; `unsent` is how many bytes of it still wait."""
        if not self._unsent or unsent <= self._unsent - RATE * (now - self._stalled):
            self.went_on(unsent, now)
        return now - self._stalled > self._patience

    def went_on(self, unsent: int, now: float) -> None:
        """It is being read."""
        self._unsent, self._stalled = unsent, now
