"""Inference requests and answers of the protocol as protobuf messages; no transport."""

from collections.abc import Mapping
from typing import Any

from service.engine import Activations
from service.errors import MalformedError
from service.image import Pixels
from service.manifest import Manifest
from service.protocol.grpc import inference_pb2 as pb
from service.protocol.inference import (
    Inference,
    Output,
    check_count,
    check_input,
    classified,
    elements,
    only_input,
    pixels_of_bytes,
    pixels_of_values,
    select,
)

_CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents"}


def decode(request: pb.ModelInferRequest, manifest: Manifest, max_images: int) -> Inference:
    """The inference that a message asks for.

    Raises:
        MalformedError: its tensor is not what the model takes, or it asks for an unknown output.
        TooLargeError: it has more than `max_images` images.
    """
    tensor = only_input(request.inputs, manifest)
    count = check_input(tensor.name, tensor.datatype, tensor.shape, manifest, max_images)
    asked = [
        Output(output.name, binary=True, classes=_number(output.parameters, "classification"))
        for output in request.outputs
    ]
    return Inference(
        _pixels(request, tensor, count),
        select(tuple(asked), manifest, binary=True),
        request.id or None,
        _number(request.parameters, "timeout") / 1e6 or None,
    )


def _pixels(request: pb.ModelInferRequest, tensor: Any, count: int) -> Pixels:
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if request.raw_input_contents:
        if filled or len(request.raw_input_contents) != 1:
            raise MalformedError("raw_input_contents is to have one element an input, which has no contents then")
        return pixels_of_bytes(request.raw_input_contents[0], tensor.datatype, count)
    if filled != [_CONTENTS[tensor.datatype]]:
        wanted = _CONTENTS[tensor.datatype]
        raise MalformedError(f"data of datatype {tensor.datatype} is to be in raw_input_contents or in {wanted}")
    values = getattr(tensor.contents, filled[0])
    check_count(values, tensor.shape)
    return pixels_of_values(list(values), tensor.datatype)


def _number(parameters: Mapping[str, Any], name: str) -> int:
    """A parameter that counts something; 0 where it is not given."""
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    value: int = getattr(parameters[name], kind) if kind in ("int64_param", "uint64_param") else -1
    if value < 0:
        raise MalformedError(f"the parameter '{name}' is to be a whole number of 0 or more")
    return value


def encode(inference: Inference, values: Mapping[str, Activations], manifest: Manifest) -> pb.ModelInferResponse:
    """The message of an answer; all outputs are raw."""
    answer = pb.ModelInferResponse(model_name=manifest.name, model_version=manifest.version, id=inference.id or "")
    for output in inference.selection.outputs:
        array = values[output.name]
        if output.classes:
            strings = classified(array, output.classes, manifest.labels)
            answer.outputs.add(name=output.name, datatype="BYTES", shape=(len(array), len(strings) // len(array)))
            answer.raw_output_contents.append(elements(strings))
        else:
            answer.outputs.add(name=output.name, datatype="FP32", shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
    return answer
