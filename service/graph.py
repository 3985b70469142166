"""ONNX graphs as bytes: further parts behind a served model, or a small model of its own.

An ONNX file is one serialised protobuf message, and concatenating two messages merges them: a repeated field, such as
the graph's nodes or outputs, is appended to (protobuf encoding, "Last One Wins"). So the served file stays byte for
byte as it is, and what is wanted beyond it stands behind it. That spares the service the onnx package. Where nodes of
the file are to be others, as `swapped` has it, the fields around them stay as they stand.

The field numbers are those of ONNX's onnx.proto.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from numpy.typing import NDArray

Attribute = int | str | Sequence[int]

IR_VERSION = 10
OPSET = 20
_ELEMENT_TYPES = {"float32": 1, "int64": 7}


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # a negative one as its two's complement
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    """A protobuf field of wire type 0."""
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, payload: bytes | str) -> bytes:
    """A length-delimited protobuf field (wire type 2): a message, text or bytes."""
    data = payload.encode() if isinstance(payload, str) else payload
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _read_varint(data: memoryview, place: int) -> tuple[int, int]:
    """A varint of `data`, and the place behind it."""
    value = shift = 0
    while data[place] > 0x7F and shift < 63:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1


def _read(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Each field of a message: its number, its content, and the whole of it as it stands; no copy of either.

    Raises:
        ValueError: the message ends within a field, or has one of a wire type that is no more.
    """
    place = 0
    while place < len(message):
        start = place
        try:
            key, place = _read_varint(message, place)
            match key & 7:
                case 0:
                    _, end = _read_varint(message, place)
                case 2:
                    size, place = _read_varint(message, place)
                    end = place + size
                case 1 | 5 as fixed:
                    end = place + (8 if fixed == 1 else 4)
                case other:
                    raise ValueError(f"protobuf has no wire type {other}")
        except IndexError:
            end = len(message) + 1
        if end > len(message):
            raise ValueError("a protobuf message ends within a field")
        yield key >> 3, message[place:end], message[start:end]
        place = end


def _attribute(name: str, value: Attribute) -> bytes:
    """An AttributeProto, of the type that the value has."""
    if isinstance(value, int):
        kind, content = 2, _number(3, value)
    elif isinstance(value, str):
        kind, content = 3, _bytes(4, value)
    else:
        kind, content = 7, b"".join(_number(8, item) for item in value)
    return _bytes(1, name) + content + _number(20, kind)


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    """A TensorProto, its values little-endian as ONNX has them."""
    kind = _ELEMENT_TYPES[values.dtype.name]
    sizes = b"".join(_number(1, size) for size in values.shape)
    content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return sizes + _number(2, kind) + _bytes(8, name) + _bytes(9, content)


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto of a tensor; an axis of any size has a name instead of a number."""
    axes = (_number(1, size) if isinstance(size, int) else _bytes(2, size) for size in shape)
    tensor = _number(1, _ELEMENT_TYPES[dtype]) + _bytes(2, b"".join(_bytes(1, axis) for axis in axes))
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


class Graph:
    """Parts of an ONNX graph in the order in which they are added, every tensor under its name.

    Attributes:
        fields: each part as a field of a GraphProto.
    """

    def __init__(self) -> None:
        self.fields: list[bytes] = []

    def node(self, operator: str, inputs: Sequence[str], outputs: str | Sequence[str], **attributes: Attribute) -> str:
        """A node of ONNX's own operators; returns the name of its first output."""
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        content = [_bytes(1, name) for name in inputs] + [_bytes(2, name) for name in names] + [_bytes(4, operator)]
        content += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
        self.fields.append(_bytes(1, b"".join(content)))
        return names[0]

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """An initializer of float32 or int64; with an input of that name, only its default."""
        self.fields.append(_bytes(5, _tensor(name, values)))
        return name

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """An input, `dtype` float32 or int64; an axis of any size has a name in `shape`."""
        self.fields.append(_bytes(11, _value(name, dtype, shape)))
        return name

    def outputs(self, *names: str) -> Self:
        """Outputs, whose types the runtime infers; any tensor can be one, and a model's constants too."""
        self.fields += [_bytes(12, _bytes(1, name)) for name in names]
        return self

    def behind(self, model: bytes) -> bytes:
        """The model, untouched, with these parts behind its own; they may use all of its tensors."""
        return model + _bytes(7, b"".join(self.fields))

    def alone(self, name: str) -> bytes:
        """A model of these parts alone."""
        graph = _bytes(7, _bytes(2, name) + b"".join(self.fields))
        return _number(1, IR_VERSION) + graph + _bytes(8, _bytes(1, "") + _number(2, OPSET))


def swapped(model: bytes, old: Graph, new: Graph) -> bytes:
    """The model without nodes that are as those of a graph, and with other parts where the last of them stood.

    A node is as another one with the same operator, inputs, outputs and attributes.

    Raises:
        ValueError: it is no model, or has no such nodes.
    """
    wanted = [_essence(node) for field in old.fields for _, node, _ in _read(memoryview(field))]
    fields: list[bytes | memoryview] = []
    for number, content, whole in _read(memoryview(model)):
        if number == 7:
            graph = list(_swapped(content, wanted, new))
            fields += [_varint(number << 3 | 2), _varint(sum(map(len, graph))), *graph]
        else:
            fields.append(whole)
    if wanted:
        raise ValueError("the model has no such nodes")
    return b"".join(fields)


def _swapped(graph: memoryview, wanted: list[Any], new: Graph) -> Iterator[bytes | memoryview]:
    """The fields of the graph without those nodes that are still wanted, which then are no more."""
    for number, content, whole in _read(graph):
        if number != 1 or (essence := _essence(content)) not in wanted:
            yield whole
            continue
        wanted.remove(essence)
        if not wanted:
            yield from new.fields


def _essence(node: memoryview) -> Any:
    """What a node is, whatever its name, and in whatever order its fields and its attributes stand."""
    fields = _in_order(node)
    attributes = sorted(_in_order(content) for number, content in fields if number == 5)
    return [field for field in fields if field[0] not in (3, 5, 6)], attributes  # without its name and its docstring


def _in_order(message: bytes | memoryview) -> list[tuple[int, bytes]]:
    """The fields of a message by their numbers; those of one number as they stand."""
    fields = [(number, bytes(content)) for number, content, _ in _read(memoryview(message))]
    return sorted(fields, key=lambda field: field[0])
