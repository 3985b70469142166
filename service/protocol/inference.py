"""What is asked of the model, whichever way it was asked: the protocol's rules for tensors, apart from their transport.

Open Inference Protocol v2 (https://github.com/kserve/open-inference-protocol), with Triton's extensions for
classification and for the scheduling policy
(https://github.com/triton-inference-server/server/tree/main/docs/protocol).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine import Activations
from service.errors import MalformedError, TooLargeError
from service.guard import require
from service.image import Pixels
from service.manifest import Manifest
from service.prediction import Prediction
from service.predictor import Predictor

DATATYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}
"""Of the input: the model's own, and real numbers from 0 to 1, which are converted."""


Tensor = TypeVar("Tensor")

_NO_REALS = "the data of datatype FP32 is to be numbers from 0 to 1 (0 to 255 are of datatype UINT8)"


@dataclass(frozen=True, slots=True)
class Output:
    """An output that is asked for.

    Attributes:
        binary: whether it is to come as bytes behind the JSON.
        classes: how many of its largest values are wanted, as `value:index:label`; 0 for its numbers.
    """

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The outputs of one request.

    Attributes:
        layers: the names of those that are feature maps.
        predicted: the names of the others.
        numbers: whether all are to come as bytes, and none as classes.
        headers: of answers in numbers alone, by the number of images; for the codec, which writes each only once.
    """

    outputs: tuple[Output, ...]
    layers: tuple[str, ...]
    predicted: tuple[str, ...]
    numbers: bool
    headers: dict[int, bytes] = field(default_factory=dict, compare=False)


class Inference(NamedTuple):
    """A request that can be run; `timeout` in seconds."""

    pixels: Pixels
    selection: Selection
    id: str | None = None
    timeout: float | None = None


def only_input(inputs: Sequence[Tensor], manifest: Manifest) -> Tensor:
    """The one input of a request.

    Raises:
        MalformedError: there is none, or another beside it.
    """
    if len(inputs) != 1:
        raise MalformedError(f"the model takes one input, '{manifest.input.name}', and {len(inputs)} were sent")
    return inputs[0]


def check_input(name: str, datatype: str, shape: Sequence[int], manifest: Manifest, max_images: int) -> int:
    """The number of values of an input tensor that the model takes.

    Raises:
        MalformedError: its name, datatype or shape is another.
        TooLargeError: it has more than `max_images` images.
    """
    expected = manifest.input
    if name != expected.name:
        raise MalformedError(f"the model's input is named '{expected.name}', not '{name[:40]}'")
    if datatype not in DATATYPES:
        raise MalformedError(
            f"the datatype of '{name}' is {expected.datatype} (0 to 255), or FP32 (0 to 1), not '{datatype[:20]}'"
        )
    if tuple(shape[1:]) != expected.shape[1:] or shape[0] < 1:
        raise MalformedError(f"the shape of '{name}' is {list(expected.shape)}, with 1 or more for −1")
    if shape[0] > max_images:
        raise TooLargeError(f"the request has {shape[0]:,} images, and at most {max_images} are taken at once")
    return prod(shape)


def check_count(values: Sequence[Any], shape: Sequence[int]) -> None:
    """Sees that there are as many values as a shape says.

    Raises:
        MalformedError: there are more or fewer.
    """
    if len(values) != prod(shape):
        raise MalformedError(f"the data has {len(values):,} values, but its shape {list(shape)} says {prod(shape):,}")


def pixels_of_bytes(data: bytes, datatype: str, count: int) -> Pixels:
    """The digits of a tensor in bytes, row-major and little-endian, of `count` values.

    Raises:
        MalformedError: it has another length, or real numbers outside 0 to 1.
    """
    dtype = DATATYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise MalformedError(
            f"the tensor has {len(data):,} bytes, but its shape and datatype say {count * dtype.itemsize:,}"
        )
    return data if datatype == "UINT8" else _pixels_of_reals(np.frombuffer(data, dtype))


def pixels_of_values(values: list[Any], datatype: str) -> Pixels:
    """The digits of a tensor in plain numbers.

    Raises:
        MalformedError: they are not whole numbers from 0 to 255, or not real numbers from 0 to 1.
    """
    kinds = set(map(type, values))
    # Looked at before an array is made of them: NumPy would make strings of all, as long as the longest.
    if datatype == "UINT8":
        if kinds != {int} or min(values) < 0 or max(values) > 255:
            raise MalformedError("the data of datatype UINT8 is to be whole numbers from 0 to 255")
        return bytes(values)
    if not kinds <= {int, float}:
        raise MalformedError("the data of datatype FP32 is to be numbers from 0 to 1")
    if not all(0 <= value <= 1 for value in values):  # before they are rounded to float32, or too large for it
        raise MalformedError(_NO_REALS)
    return _pixels_of_reals(np.array(values, np.float32))


def _pixels_of_reals(values: Activations) -> Pixels:
    if not (values.min() >= 0 and values.max() <= 1):  # a NaN is neither
        raise MalformedError(_NO_REALS)
    digits: NDArray[np.uint8] = np.rint(values * np.float32(255)).astype(np.uint8)
    return digits.tobytes()


@lru_cache(maxsize=256)  # so that a selection that comes again brings the headers that were written for it
def select(asked: tuple[Output, ...], manifest: Manifest, *, binary: bool = False) -> Selection:
    """The outputs that are asked for, or the model's own where none are, in bytes if `binary`.

    Raises:
        MalformedError: the model has no such output, or it is no list of scores to take the largest of.
    """
    own = [output.name for output in manifest.outputs]
    known = {layer.name for layer in manifest.features}
    outputs = asked or tuple(Output(name, binary) for name in own)
    for output in outputs:
        if output.name not in own and output.name not in known:
            raise MalformedError(f"the model has no output '{output.name[:40]}'")
        if output.classes and output.name not in own:
            raise MalformedError(f"classification is of {' or '.join(own)}, and '{output.name}' has no classes")
    if len({output.name for output in outputs}) != len(outputs):
        raise MalformedError("an output is asked for twice")
    layers = tuple(output.name for output in outputs if output.name in known)
    return Selection(
        outputs,
        layers,
        predicted=tuple(output.name for output in outputs if output.name in own),
        numbers=all(output.binary and not output.classes for output in outputs),
    )


def classified(scores: Activations, classes: int, labels: Sequence[str]) -> list[str]:
    """The largest scores of each row of (n, 10), best first, as `value:index:label`."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :classes]
    return [f"{row[k]:f}:{k}:{labels[k]}" for row, best in zip(scores, order, strict=True) for k in best]


def elements(strings: Sequence[str]) -> bytes:
    """A BYTES tensor: each element behind its length in 4 bytes, little-endian."""
    encoded = [string.encode() for string in strings]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def predicted(selection: Selection, prediction: Prediction) -> dict[str, Activations]:
    """The values of those outputs that are asked for and are no feature maps, by name, each float32 (n, …)."""
    return {name: getattr(prediction, name) for name in selection.predicted}


async def execute(
    inference: Inference, predictor: Predictor, gone: Callable[[], bool] | None = None
) -> Mapping[str, Activations]:
    """The values of the outputs by name, each float32 (n, …).

    Raises:
        ForbiddenError: feature maps are asked for with a key that is not for what is inside.
        DigitscopeError: what `Predictor.predict` and `Predictor.inspect` raise.
    """
    deadline = None if inference.timeout is None else time.monotonic() + inference.timeout
    selection = inference.selection
    if selection.layers:
        require("inspect")
    values: dict[str, Activations] = {}
    if selection.predicted:
        prediction = await predictor.predict(inference.pixels, deadline=deadline, gone=gone)
        values = predicted(selection, prediction)
    if selection.layers:
        values |= await predictor.inspect(inference.pixels, selection.layers, deadline=deadline, gone=gone)
    return values
