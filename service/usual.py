"""How long work of each kind usually takes."""

from collections.abc import Hashable

from service.load import Load

_MEMORY = 0.2  # the share that the latest work has in what work usually takes


class Usual:
    """The mean time of each kind apart, so that cheap work of one says nothing of another."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def of(self, load: Load) -> float:
        """What such work takes, in seconds."""
        return self._seconds.get(load.kind, load.guess)

    def learn(self, load: Load, took: float, *, failed: bool) -> None:
        """Notes what such work took; where it failed, that was at least a part of what it takes."""
        known = self._seconds.get(load.kind)
        if failed and took < self.of(load):
            return
        self._seconds[load.kind] = took if known is None else known + _MEMORY * (took - known)
