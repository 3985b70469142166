"""How far the end of the service has come, for all who have a part in it."""

import asyncio


class Ending:
    """The end: announced first, so that no more is sent here, and begun when it is time.

    Attributes:
        announced: whether it is. Then the service is not ready any more, and soon every answer is the last of its
            connection.
        begun: set when nothing new is accepted any more.
    """

    def __init__(self) -> None:
        self.announced = False
        self.begun = asyncio.Event()
