"""Where pictures are read and the network is looked into, for all versions that are served together."""

from collections.abc import Callable

from service.background import Background
from service.cpus import available_cpus
from service.spending import Spending

_WAITING_INSPECTIONS = 16
_WAITING_PICTURES = 1024  # that threads read; what really bounds them is their time, and the memory of their bodies
_PATIENCE = 1.0  # seconds in which a picture that was let in is to have been read in a thread
_USUAL = 0.03  # seconds; a photograph, until it is known how long they take here


class Workshop:
    """The threads for what takes long, and the time that goes into what is done at once.

    Attributes:
        reading: the threads that read pictures.
        looking: the one that looks inside.
        spending: the time that goes into reading what has come, on the event loop.
    """

    def __init__(self, most: float, permit: Callable[[], None] = lambda: None) -> None:
        """`most` is how many seconds are spent at once; `permit` raises OverloadedError to have nobody look inside."""
        self.spending = Spending(most)
        self.reading = Background(
            "be read", _WAITING_PICTURES, _PATIENCE, usual=_USUAL, threads=available_cpus(), yields=False
        )
        self.looking = Background("look inside the network", _WAITING_INSPECTIONS, permit=permit)

    def close(self) -> None:
        """Lets the threads end with what they do."""
        self.reading.close()
        self.looking.close()
