"""Messages as bytes made into messages as objects, if they are such."""

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from service.errors import MalformedError, TooLargeError
from service.image import PIXELS
from service.protocol.grpc.fields import Form, count
from service.protocol.grpc.methods import Message

_SHORT = 65536  # bytes of a message that has names and no more
_LONG = ("ModelInfer", "ModelStreamInfer", "RepositoryModelLoad", "RepositoryModelUnload")


class Reader:
    """Reads the messages of one method."""

    def __init__(self, method: Message, max_images: int) -> None:
        """`method` is its descriptor; a tensor has at most so many images."""
        self._name = method.input_type.name
        self._parse = GetMessageClass(method.input_type).FromString
        self._form = Form(method.input_type)
        self._values = max_images * PIXELS
        self._longest = None if method.name in _LONG else _SHORT

    def read(self, data: bytes) -> Message:
        """The message.

        Raises:
            MalformedError: it is none.
            TooLargeError: it has too many fields, or more bytes than one without tensors is meant to have.
        """
        if self._longest is not None and len(data) > self._longest:
            raise TooLargeError(f"the message has {len(data):,} bytes, and a {self._name} at most {self._longest:,}")
        count(data, self._form, self._values)
        try:
            return self._parse(data)
        except DecodeError as error:
            raise MalformedError(f"the message is no {self._name}") from error
