"""What many share and one could take all of.

A caller may take more as long as no more is his than is free, so half of it if he is alone, and with two of them a
third each: whoever comes next finds as much as anybody has. Nothing is set aside for anyone, and no number of callers
has to be known (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM
Transactions on Networking 6(2), 1998, with α = 1).
"""


class Shares:
    """What is held, altogether and by each caller.

    Attributes:
        total: all of it.
    """

    __slots__ = ("_held", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self._held: dict[str, float] = {}

    def held(self, caller: str | None) -> float:
        """What a caller holds; nobody in particular, None, holds nothing in particular."""
        return 0.0 if caller is None else self._held.get(caller, 0.0)

    def fits(self, caller: str | None, amount: float, limit: float) -> bool:
        """Whether a caller may take so much more, where all may hold `limit` together."""
        return self.held(caller) + self.total + amount <= limit

    def take(self, caller: str | None, amount: float) -> None:
        """A caller holds so much more."""
        self.total += amount
        if caller is not None:
            self._held[caller] = self._held.get(caller, 0.0) + amount

    def give(self, caller: str | None, amount: float) -> None:
        """A caller holds so much less."""
        self.total -= amount
        if caller is not None:
            left = self._held[caller] - amount
            if left > 0:
                self._held[caller] = left
            else:  # what nobody holds any more takes no memory
                del self._held[caller]

    def clear(self) -> None:
        """Nobody holds anything any more."""
        self.total = 0.0
        self._held.clear()
