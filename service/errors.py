"""Everything that can go wrong, as one tree. It knows no HTTP: `service.refusal` holds the table of statuses.

    DigitscopeError
    ├── RequestError            the caller can mend it
    │   ├── MalformedError      the request does not say what it must
    │   ├── UnknownError        a model, version, layer or path that is not here
    │   ├── TooLargeError       beyond a limit, which the message names
    │   ├── NotAPictureError    the bytes are no picture that is read here
    │   ├── UnauthenticatedError  no API key that is known came with it
    │   ├── ForbiddenError      whoever asks may not ask this
    │   ├── LimitedError        its API key has asked too often
    │   └── VersionError        a version that was to be loaded or let go, and is not
    ├── OverloadedError         more is waiting than can be answered in time
    ├── DeadlineError           the time that the request may take has passed
    ├── GoneError               the caller has gone before the answer
    ├── NotReadyError           the model is not loaded, or no longer
    ├── EngineError             the engine failed while it ran
    ├── ModelError              a model or its manifest is not what it must be; it is not served
    ├── ProviderError           an execution provider was asked for by name and cannot be used
    ├── AddressError            an address or a port cannot be listened on
    └── TelemetryError          where traces are to be sent is said in a way that has no meaning

Each message is one sentence that may be shown to anybody.
"""


class DigitscopeError(Exception):
    """The root of the tree.

    Attributes:
        wait: seconds after which the same request may be answered; None where that is not a matter of time.
    """

    wait: float | None = None


class RequestError(DigitscopeError):
    """The caller can mend it."""


class MalformedError(RequestError):
    """The request does not say what it must."""


class UnknownError(RequestError):
    """A model, version, layer or path that is not here."""


class TooLargeError(RequestError):
    """The request is beyond a limit, which the message names."""


class NotAPictureError(RequestError):
    """The bytes are no picture that is read here."""


class UnauthenticatedError(RequestError):
    """No API key that is known came with the request."""


class ForbiddenError(RequestError):
    """Whoever asks may not ask this."""


class LimitedError(RequestError):
    """The API key of the request has asked too often."""

    wait: float

    def __init__(self, sentence: str, wait: float = 1.0) -> None:
        super().__init__(sentence)
        self.wait = wait


class VersionError(RequestError):
    """A version that was to be loaded or let go, and is not; everything is as before."""


class OverloadedError(DigitscopeError):
    """More is waiting than can be answered in time."""

    wait = 1.0


class DeadlineError(DigitscopeError):
    """The time that the request may take has passed."""


class GoneError(DigitscopeError):
    """The caller has gone before the answer."""


class NotReadyError(DigitscopeError):
    """The model is not loaded, or no longer."""

    wait = 1.0


class EngineError(DigitscopeError):
    """The engine failed while it ran."""


class ModelError(DigitscopeError):
    """A model or its manifest is not what it must be; it is not served."""

    wait = 1.0


class ProviderError(DigitscopeError):
    """An execution provider was asked for by name and cannot be used."""

    wait = 1.0


class AddressError(DigitscopeError):
    """An address or a port cannot be listened on."""

    wait = 1.0


class TelemetryError(DigitscopeError):
    """Where traces are to be sent is said in a way that has no meaning."""

    wait = 1.0
