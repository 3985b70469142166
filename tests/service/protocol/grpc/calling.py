"""The service's methods as a client of gRPC's own calls them, with no other client's code about it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from google.protobuf.message_factory import GetMessageClass
from numpy.typing import NDArray

from service.protocol.grpc import inference_pb2 as pb

PATIENCE = 60  # seconds
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


class Client:
    """A method of the service by its name, `call`, which takes a message and gives the answer's."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def call(self, name: str, request: Any = None, **options: Any) -> Any:
        """The answer to a message, or to an empty one."""
        return self.method(name)(*self._with_defaults(name, request, options))

    def future(self, name: str, request: Any = None, **options: Any) -> Any:
        """The answer to come."""
        return self.method(name).future(*self._with_defaults(name, request, options))

    def _with_defaults(self, name: str, request: Any, options: dict[str, Any]) -> tuple[Any, float]:
        made = GetMessageClass(_SERVICE.methods_by_name[name].input_type)() if request is None else request
        return made, options.get("timeout", PATIENCE)

    def method(self, name: str) -> Any:
        """The method of one answer."""
        method = _SERVICE.methods_by_name[name]
        return self.channel.unary_unary(
            f"/{_SERVICE.full_name}/{name}",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )

    def stream(self, requests: Iterator[Any]) -> Any:
        """The answers to a stream of requests."""
        return self.channel.stream_stream(
            f"/{_SERVICE.full_name}/ModelStreamInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )(requests, timeout=PATIENCE)


@contextmanager
def calling(port: int) -> Iterator[Client]:
    """A client with a connection of its own."""
    options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE)
        yield Client(channel)


def asking(images: NDArray[np.uint8], *outputs: str, raw: bool = True, **more: Any) -> Any:
    """A request for some outputs of images (n, 28, 28)."""
    request = pb.ModelInferRequest(model_name="digits", **more)
    tensor = request.inputs.add(name="image", datatype="UINT8", shape=(len(images), 1, 28, 28))
    if raw:
        request.raw_input_contents.append(images.tobytes())
    else:
        tensor.contents.uint_contents.extend(images.ravel().tolist())
    for name in outputs:
        request.outputs.add(name=name)
    return request


def tensors(answer: Any) -> dict[str, NDArray[np.float32]]:
    """The output tensors by name, in their shapes."""
    assert len(answer.outputs) == len(answer.raw_output_contents)
    assert all(output.datatype == "FP32" for output in answer.outputs)
    return {
        output.name: np.frombuffer(raw, "<f4").reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
