"""Requests for a layer's values by the Open Inference Protocol, with binary tensors, and their answers; no HTTP.

Open Inference Protocol v2 (https://github.com/kserve/open-inference-protocol) with Triton's binary tensor data
extension (https://github.com/triton-inference-server/server/tree/main/docs/protocol).
"""

import math

import numpy as np
import orjson
from numpy.typing import NDArray

from client.errors import AnswerError
from client.prediction import SIDE

HEADER_LENGTH = "Inference-Header-Content-Length"


def inference(digits: NDArray[np.uint8], output: str) -> tuple[bytes, int]:
    """A body that asks for one output of prepared digits (n, 28, 28), and the length of its JSON."""
    pixels = digits.tobytes()
    tensor = {
        "name": "image",
        "shape": [len(digits), 1, SIDE, SIDE],
        "datatype": "UINT8",
        "parameters": {"binary_data_size": len(pixels)},
    }
    head = orjson.dumps({"inputs": [tensor], "outputs": [{"name": output, "parameters": {"binary_data": True}}]})
    return head + pixels, len(head)


def read_inference(body: bytes, head: str | None, output: str, count: int) -> tuple[str, NDArray[np.float32]]:
    """The version of the model that answered, and the values of the output, float32 (count, …).

    `head` is what the answer's header says of its JSON's length.

    Raises:
        AnswerError: it is no such answer.
    """
    try:
        length = int(head or "")
        answer = orjson.loads(body[:length])
        version, (tensor,) = str(answer["model_version"]), answer["outputs"]
        name, shape, size = tensor["name"], tuple(tensor["shape"]), tensor["parameters"]["binary_data_size"]
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError("the answer holds no binary tensor") from error
    if name != output or tensor["datatype"] != "FP32" or shape[:1] != (count,):
        raise AnswerError(f"'{output}' of {count} digits was asked for, and '{name}' of shape {shape} came back")
    if size != len(body) - length or size != 4 * math.prod(shape):
        raise AnswerError(f"the tensor '{output}' has not as many bytes as its shape says")
    return version, np.frombuffer(body, "<f4", offset=length).reshape(shape).astype(np.float32, copy=False)
