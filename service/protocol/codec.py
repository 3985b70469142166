"""Inference requests and answers of the protocol as values: checked JSON in, plain JSON out; no HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StrictInt, ValidationError

from service.errors import MalformedError, TooLargeError
from service.features import Activations
from service.manifest import Manifest


class InferInput(BaseModel):
    """An input tensor; `data` is nested as `shape` says, or flat."""

    name: str
    shape: list[StrictInt]
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any]


class InferOutput(BaseModel):
    """An output that is asked for by name."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """The body of an inference request."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InferInput]
    outputs: list[InferOutput] | None = None


class OutputTensor(BaseModel):
    """An output tensor, its data flat in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferAnswer(BaseModel):
    """The body of an answer to an inference request."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


@dataclass(frozen=True)
class Inference:
    """A request that can be run: images uint8 (n, 28, 28), names of outputs, and the id to give back."""

    images: NDArray[np.uint8]
    outputs: tuple[str, ...]
    id: str | None


def decode(body: bytes, manifest: Manifest, max_images: int) -> Inference:
    """The inference that a JSON body asks for.

    Raises:
        MalformedError: it is no such JSON, its tensor is not what the model takes, or it asks for an unknown output.
        TooLargeError: it has more than `max_images` images.
    """
    try:
        request = InferRequest.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is no JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise MalformedError(f"the inference request is wrong at {where}: {first['msg']}") from error
    if len(request.inputs) != 1:
        raise MalformedError(f"the model takes one input, '{manifest.input.name}', and {len(request.inputs)} were sent")
    images = _images(request.inputs[0], manifest, max_images)
    return Inference(images, _output_names(request, manifest), request.id)


def _output_names(request: InferRequest, manifest: Manifest) -> tuple[str, ...]:
    own = [output.name for output in manifest.outputs]
    if not request.outputs:
        return tuple(own)
    known = {*own, *(layer.name for layer in manifest.features)}
    names = tuple(dict.fromkeys(output.name for output in request.outputs))
    for name in names:
        if name not in known:
            raise MalformedError(f"the model has no output '{name[:40]}'")
    return names


def _images(tensor: InferInput, manifest: Manifest, max_images: int) -> NDArray[np.uint8]:
    expected = manifest.input
    if tensor.name != expected.name:
        raise MalformedError(f"the model's input is named '{expected.name}', not '{tensor.name[:40]}'")
    if tensor.datatype != expected.datatype:
        raise MalformedError(f"the datatype of '{expected.name}' is {expected.datatype}, not {tensor.datatype[:20]}")
    if tensor.shape[1:] != list(expected.shape[1:]) or tensor.shape[0] < 1:
        raise MalformedError(f"the shape of '{expected.name}' is {list(expected.shape)}, with 1 or more for −1")
    if tensor.shape[0] > max_images:
        raise TooLargeError(f"the request has {tensor.shape[0]} images, and at most {max_images} are taken at once")
    values = _flattened(tensor.data, tensor.shape)
    # Looked at before an array is made of them: NumPy would make strings of all, as long as the longest.
    if set(map(type, values)) != {int} or min(values) < 0 or max(values) > 255:
        raise MalformedError("the data of datatype UINT8 is to be whole numbers from 0 to 255")
    return np.frombuffer(bytes(values), np.uint8).reshape(-1, *expected.shape[2:])


def _flattened(data: list[Any], shape: list[int]) -> list[Any]:
    """The values in row-major order, of data that is nested as the shape says, or flat."""
    values = data
    if data and isinstance(data[0], list):
        values = [data]
        for size in shape:
            if any(type(part) is not list or len(part) != size for part in values):
                raise MalformedError(f"the data is not nested as its shape {shape} says")
            values = list(chain.from_iterable(values))
    if len(values) != prod(shape):
        raise MalformedError(f"the data has {len(values):,} values, but its shape {shape} says {prod(shape):,}")
    return values


def encode(inference: Inference, values: Mapping[str, Activations], manifest: Manifest) -> dict[str, Any]:
    """The answer, its tensors still as arrays."""
    answer: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version}
    if inference.id is not None:
        answer["id"] = inference.id
    answer["outputs"] = [
        {"name": name, "datatype": "FP32", "shape": values[name].shape, "data": values[name].reshape(-1)}
        for name in inference.outputs
    ]
    return answer


def metadata(manifest: Manifest, versions: Sequence[str]) -> dict[str, Any]:
    """The model's metadata; feature maps are further outputs, which have to be asked for."""
    return {
        "name": manifest.name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": [manifest.input.model_dump()],
        "outputs": [output.model_dump() for output in manifest.outputs],
    }
