"""What a model's file is made of, found out before ONNX Runtime opens it.

An ONNX file can name other files to read weights from, hold functions and graphs inside nodes, and ask for any operator
that the runtime knows, some of which make gigabytes out of a few bytes. None of that is in the contract, so a file that
has any of it is refused by its bytes alone.

The messages and their field numbers are those of ONNX's onnx.proto, the encoding is protobuf's. A field that is not
named here is refused: what is not understood cannot be vouched for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from service.errors import ModelError
from service.manifest import Manifest, Precision, TensorSpec

_OPERATORS = frozenset(
    ("Cast", "Conv", "Div", "Flatten", "Gemm", "MaxPool", "Mul", "Relu", "Reshape", "Softmax", "Sub")
)  # fmt: skip
_QUANTISED = frozenset(("DequantizeLinear", "QuantizeLinear"))
_ELEMENT_TYPES = {"FP32": 1, "UINT8": 2}
_MOST_NODES = 256
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

_MODEL = {
    1: "IR version", 2: "producer", 3: "producer's version", 4: "domain", 5: "model version", 6: "description",
    7: "graph", 8: "operator set", 14: "metadata",
}  # fmt: skip
_GRAPH = {1: "node", 2: "name", 5: "constant", 10: "description", 11: "input", 12: "output", 13: "value"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "operator", 5: "attribute", 6: "description", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 4: "s", 5: "tensor", 7: "floats", 8: "ints", 13: "description", 20: "type"}
_TENSOR = {
    1: "dims", 2: "type", 4: "floats", 5: "int32s", 7: "int64s", 8: "name", 9: "bytes", 10: "doubles", 11: "uint64s",
    12: "description",
}  # fmt: skip
_OTHER_FILES = (13, 14)  # of a tensor: external_data, data_location

_Field = tuple[int, int, memoryview]
"""Number, value of a varint, bytes of anything else."""


@dataclass
class _Found:
    """What a file has of that which the contract fixes; each tensor as its element type and shape, −1 for any size."""

    inputs: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    outputs: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    nodes: int = 0


def check_model(model: bytes, manifest: Manifest, precision: Precision, name: str) -> None:
    """Sees that an ONNX file holds what the contract allows, and takes and gives what its manifest says.

    `name` is what messages call it.

    Raises:
        ModelError: it is no ONNX file, or refers to other files, or has operators, tensors or parts beyond that.
    """
    try:
        found = _read(memoryview(model))
    except ModelError as error:
        raise ModelError(f"{name} {error}") from error
    allowed = _OPERATORS if precision == "fp32" else _OPERATORS | _QUANTISED
    for operator in sorted(found.operators - allowed):
        raise ModelError(f"{name} has the operator {operator[:40]}, which is none of those that are served")
    if found.nodes > _MOST_NODES:
        raise ModelError(f"{name} has {found.nodes:,} nodes, and at most {_MOST_NODES} are served")
    _compare(found.inputs, (manifest.input,), f"{name} takes")
    _compare(found.outputs, manifest.outputs, f"{name} gives")


def _compare(found: Mapping[str, tuple[int, tuple[int, ...]]], promised: tuple[TensorSpec, ...], said: str) -> None:
    for spec in promised:
        if spec.name not in found:
            raise ModelError(f"{said} no '{spec.name}', but its manifest promises it")
        kind, shape = found[spec.name]
        if kind != _ELEMENT_TYPES[spec.datatype] or shape != spec.shape:
            raise ModelError(
                f"{said} '{spec.name}' as something else than {spec.datatype} of shape {list(spec.shape)}, "
                "as its manifest has it"
            )
    if len(found) != len(promised):
        raise ModelError(f"{said} {len(found)} tensors, but its manifest promises {len(promised)}")


def _read(model: memoryview) -> _Found:
    found = _Found()
    for number, _, content in _fields(model, _MODEL, "model"):
        if number == 7:
            _read_graph(content, found)
    return found


def _read_graph(graph: memoryview, found: _Found) -> None:
    for number, _, content in _fields(graph, _GRAPH, "graph"):
        if number == 1:
            _read_node(content, found)
        elif number == 5:
            _read_tensor(content)
        elif number in (11, 12):
            name, element, shape = _value(content)
            (found.inputs if number == 11 else found.outputs)[name] = (element, shape)


def _read_node(node: memoryview, found: _Found) -> None:
    found.nodes += 1
    for number, _, content in _fields(node, _NODE, "node"):
        if number == 4:
            found.operators.add(_text(content))
        elif number == 5:
            for part, _, value in _fields(content, _ATTRIBUTE, "attribute"):
                if part == 5:
                    _read_tensor(value)
        elif number == 7 and _text(content) not in ("", "ai.onnx"):
            raise ModelError(f"has an operator of {_text(content)[:40]}, and only ONNX's own are served")


def _read_tensor(tensor: memoryview) -> None:
    if any(number in _OTHER_FILES for number, _, _ in _every_field(tensor)):
        raise ModelError("keeps weights in another file, which is not read")
    for _ in _fields(tensor, _TENSOR, "tensor"):
        pass


def _value(value: memoryview) -> tuple[str, int, tuple[int, ...]]:
    """Name, element type and shape of a ValueInfoProto."""
    name, element, shape = "", 0, []
    for number, _, content in _every_field(value):
        if number == 1:
            name = _text(content)
        elif number == 2:
            for kind, _, tensor in _every_field(content):
                if kind != 1:
                    raise ModelError(f"has '{name[:40]}', which is no tensor")
                for part, varint, inner in _every_field(tensor):
                    if part == 1:
                        element = varint
                    elif part == 2:
                        shape += [_size(axis) for field_, _, axis in _every_field(inner) if field_ == 1]
    return name, element, tuple(shape)


def _size(axis: memoryview) -> int:
    sizes = [varint for number, varint, _ in _every_field(axis) if number == 1]
    return sizes[-1] if sizes else -1


def _fields(message: memoryview, known: Mapping[int, str], of: str) -> Iterator[_Field]:
    for found in _every_field(message):
        if found[0] not in known:
            raise ModelError(f"has a part of number {found[0]} in its {of}, which is not served")
        yield found


def _every_field(message: memoryview) -> Iterator[_Field]:
    """The fields of a message in their order.

    Raises:
        ModelError: it ends in the midst of one, or has one of a kind that there is not.
    """
    place, nothing = 0, memoryview(b"")
    while place < len(message):
        key, place = _varint(message, place)
        wire = key & 7
        if wire == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value, nothing
            continue
        if wire == _BYTES:
            length, place = _varint(message, place)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ModelError("is no ONNX file")
        if place + length > len(message):
            raise ModelError("is no whole ONNX file")
        yield key >> 3, 0, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ModelError("is no whole ONNX file")


def _text(content: memoryview) -> str:
    """A name as it may be shown, which is no place for lines and their ends."""
    name = bytes(content[:1000]).decode(errors="replace")
    return "".join(letter if letter.isprintable() else "�" for letter in name)
