"""Inference requests and answers of the protocol over HTTP: JSON, with tensors in it or as bytes behind it; no HTTP.

Triton's binary tensor data extension: the body begins with a JSON header, whose length is told beside the body, and
goes on with the bytes of those tensors that have a `binary_data_size`, in the header's order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson
from pydantic import BaseModel, Field, StrictBool, StrictInt, ValidationError

from service.answer import in_pieces, to_json
from service.engine import Activations
from service.errors import MalformedError, TooLargeError
from service.image import PIXELS
from service.manifest import Manifest
from service.prediction import Prediction
from service.protocol.inference import (
    Inference,
    Output,
    Selection,
    check_count,
    check_input,
    classified,
    elements,
    only_input,
    pixels_of_bytes,
    pixels_of_values,
    predicted,
    select,
)

_MOST = 64  # inputs, outputs, or dimensions: each that is wrong has an explanation of its own made for it
_LONGEST_VALUE = 32  # bytes of a value in JSON, with what a friendly client puts around it
_JSON_HEADER = 65536  # bytes of everything but values
_CACHED_HEADER = 2048  # bytes; a client's headers differ little, and these are kept once they are understood


class InputParameters(BaseModel):
    """What is said of an input beside its data."""

    binary_data_size: StrictInt | None = Field(default=None, ge=0, description="bytes of the tensor behind the JSON")


class InferInput(BaseModel):
    """An input tensor; `data` is nested as `shape` says, or flat, or in bytes behind the JSON."""

    name: str
    shape: list[StrictInt] = Field(max_length=_MOST)
    datatype: str = Field(description="UINT8 (0 to 255), or FP32 (0 to 1)")
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None


class OutputParameters(BaseModel):
    """How an output is wanted."""

    binary_data: StrictBool | None = Field(default=None, description="as bytes behind the JSON")
    classification: StrictInt = Field(
        default=0, ge=0, description="so many of the largest values, as value:index:label"
    )


class InferOutput(BaseModel):
    """An output that is asked for by name."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(BaseModel):
    """What is said of the whole request."""

    binary_data_output: StrictBool = Field(default=False, description="all outputs as bytes behind the JSON")
    timeout: StrictInt = Field(default=0, ge=0, description="microseconds that the request may wait; 0 for any time")


class InferRequest(BaseModel):
    """The body of an inference request."""

    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: list[InferInput] = Field(max_length=_MOST)
    outputs: list[InferOutput] | None = Field(default=None, max_length=_MOST)


class OutputTensor(BaseModel):
    """An output tensor, its data flat in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | list[str] | None = None
    parameters: dict[str, Any] | None = None


class InferAnswer(BaseModel):
    """The body of an answer to an inference request."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


@dataclass(frozen=True, slots=True)
class _Header:
    """A request without its data."""

    count: int  # values of the input
    datatype: str
    size: int | None  # bytes of the input behind the JSON
    data: list[Any] | None
    shape: tuple[int, ...]
    selection: Selection
    id: str | None
    timeout: float | None


def longest_request(max_images: int) -> int:
    """The most bytes that a request of so many images needs, which is where they are numbers in JSON."""
    return max_images * PIXELS * _LONGEST_VALUE + _JSON_HEADER


def decode(body: bytes, header_length: int | None, manifest: Manifest, max_images: int) -> Inference:
    """The inference that a body asks for; `header_length` in bytes, None for a body of JSON alone, 0 for bare pixels.

    Raises:
        MalformedError: it is no such JSON, its tensor is not what the model takes, or it asks for an unknown output.
        TooLargeError: it has more than `max_images` images.
    """
    if header_length == 0:
        return _bare(body, manifest, max_images)
    if header_length is None:
        header, rest = _header(body, manifest, max_images), b""
    else:
        if header_length > len(body):
            raise MalformedError(f"the JSON is said to have {header_length:,} bytes, and the body has {len(body):,}")
        read = _cached_header if header_length <= _CACHED_HEADER else _header
        header, rest = read(body[:header_length], manifest, max_images), body[header_length:]
    if len(rest) != (header.size or 0):
        raise MalformedError(f"{len(rest):,} bytes follow the JSON, and its inputs say {header.size or 0:,}")
    if header.size is not None:
        pixels = pixels_of_bytes(rest, header.datatype, header.count)
    elif header.data is None:
        raise MalformedError("the input has neither data nor a binary_data_size")
    else:
        pixels = pixels_of_values(_flattened(header.data, header.shape), header.datatype)
    return Inference(pixels, header.selection, header.id, header.timeout)


def _bare(body: bytes, manifest: Manifest, max_images: int) -> Inference:
    count, rest = divmod(len(body), PIXELS)
    if rest or not count:
        raise MalformedError(f"a raw body is digits of {PIXELS} bytes each, and {len(body):,} bytes are no multiple")
    if count > max_images:
        raise TooLargeError(f"the request has {count:,} images, and at most {max_images} are taken at once")
    return Inference(body, select((), manifest, binary=True))


def _header(text: bytes, manifest: Manifest, max_images: int) -> _Header:
    limit = longest_request(max_images)
    if len(text) > limit:  # before it is read: what is no use takes the longest
        raise TooLargeError(f"the JSON has {len(text):,} bytes, and no request of {max_images} images needs {limit:,}")
    try:
        request = InferRequest.model_validate(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is no JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise MalformedError(f"the inference request is wrong at {where}: {first['msg']}") from error
    tensor = only_input(request.inputs, manifest)
    everything = request.parameters.binary_data_output
    asked = [
        Output(
            output.name,
            everything if output.parameters.binary_data is None else output.parameters.binary_data,
            output.parameters.classification,
        )
        for output in request.outputs or ()
    ]
    return _Header(
        count=check_input(tensor.name, tensor.datatype, tensor.shape, manifest, max_images),
        datatype=tensor.datatype,
        size=tensor.parameters.binary_data_size,
        data=tensor.data,
        shape=tuple(tensor.shape),
        selection=select(tuple(asked), manifest, binary=everything),
        id=request.id,
        timeout=request.parameters.timeout / 1e6 or None,
    )


_cached_header = lru_cache(maxsize=256)(_header)


def _flattened(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The values in row-major order, of data that is nested as the shape says, or flat."""
    values = data
    if data and isinstance(data[0], list):
        values = [data]
        for size in shape:
            if any(type(part) is not list or len(part) != size for part in values):
                raise MalformedError(f"the data is not nested as its shape {list(shape)} says")
            values = list(chain.from_iterable(values))
    check_count(values, shape)
    return values


def encode_prediction(inference: Inference, prediction: Prediction, manifest: Manifest) -> tuple[bytes, int | None]:
    """What `encode` makes of a prediction."""
    selection = inference.selection
    if inference.id is not None or not selection.numbers:
        return encode(inference, predicted(selection, prediction), manifest)
    count = len(prediction)
    # Without an id it says the same of all images, and writing it anew cost a tenth of the whole answer.
    header = selection.headers.get(count)
    if header is None:
        content, length = encode(inference, predicted(selection, prediction), manifest)
        header = selection.headers[count] = content[:length]
    return b"".join([header, *[prediction.written(output.name) for output in selection.outputs]]), len(header)


def encode(inference: Inference, values: Mapping[str, Activations], manifest: Manifest) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON header where bytes follow that."""
    outputs = inference.selection.outputs
    tensors, behind = [], []
    for output in outputs:
        array = values[output.name]
        if output.classes:
            strings = classified(array, output.classes, manifest.labels)
            content: Any = strings
            data = elements(strings)
            shape, datatype = (len(array), len(strings) // len(array)), "BYTES"
        else:
            content = array.reshape(-1)
            data = array.tobytes() if output.binary else b""
            shape, datatype = array.shape, "FP32"
        tensor: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": shape}
        if output.binary:
            tensor["parameters"] = {"binary_data_size": len(data)}
            behind.append(data)
        else:
            tensor["data"] = content if output.classes else in_pieces(content)
        tensors.append(tensor)
    json = to_json(_answer(manifest, inference.id) | {"outputs": tensors})
    return b"".join((json, *behind)), len(json) if behind else None


def _answer(manifest: Manifest, request_id: str | None) -> dict[str, Any]:
    answer = {"model_name": manifest.name, "model_version": manifest.version}
    return answer if request_id is None else answer | {"id": request_id}
