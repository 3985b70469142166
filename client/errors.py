"""Everything that can go wrong, as one tree.

    ClientError
    ├── InputError          one input cannot be read; it costs its own row
    ├── RefusedError        the service will not answer this request, however often it is asked
    ├── TransientError      the same request may well be answered later, and is safe to ask again
    │   ├── LostError       no answer came: no connection, one that was reset, or the time was over, a proxy's too (504)
    │   └── BusyError       the service or a proxy said so, by 429, 502 or 503
    ├── GivenUpError        a request was repeated for as long as patience lasts
    ├── AnswerError         an answer is not what it must be
    └── RunError            the run cannot begin, or cannot go on

Each message is one sentence that may stand in a table or in a log.
"""


class ClientError(Exception):
    """The root of the tree."""


class InputError(ClientError):
    """One input cannot be read; it costs its own row."""


class RefusedError(ClientError):
    """The service will not answer this request, however often it is asked.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class TransientError(ClientError):
    """The same request may well be answered later, and is safe to ask again.

    Attributes:
        after: seconds before which the service wishes not to be asked again.
    """

    def __init__(self, sentence: str, after: float = 0) -> None:
        super().__init__(sentence)
        self.after = after


class LostError(TransientError):
    """No answer came: no connection, one that was reset, or the time was over, a proxy's too (504)."""


class BusyError(TransientError):
    """The service or a proxy said so, by 429, 502 or 503; it lies with no input."""


class GivenUpError(ClientError):
    """A request was repeated for as long as patience lasts.

    Attributes:
        alone: whether others were answered meanwhile, so that it lies with this request.
    """

    def __init__(self, sentence: str, *, alone: bool) -> None:
        super().__init__(sentence)
        self.alone = alone


class AnswerError(ClientError):
    """An answer is not what it must be."""


class RunError(ClientError):
    """The run cannot begin, or cannot go on."""
