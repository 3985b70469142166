"""A served model with its feature maps among its outputs, made without touching a single weight.

An ONNX file is one serialised protobuf message, and concatenating two messages merges them: a repeated field, such as
the graph's outputs, is appended to (protobuf encoding, "Last One Wins"). So the file stays byte for byte as it
is, and a few bytes behind it name further outputs. That spares the service the onnx package, and the same bytes
that predict are the bytes that are looked into.
"""

_MODEL_GRAPH = 7  # field numbers of onnx.proto: ModelProto.graph, GraphProto.output, ValueInfoProto.name
_GRAPH_OUTPUT = 12
_VALUE_NAME = 1


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(number: int, payload: bytes) -> bytes:
    """One length-delimited protobuf field (wire type 2)."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def with_outputs(model: bytes, names: list[str]) -> bytes:
    """The ONNX model with further tensors of its graph as outputs, in the order given, behind its own."""
    outputs = b"".join(_field(_GRAPH_OUTPUT, _field(_VALUE_NAME, name.encode())) for name in names)
    return model + _field(_MODEL_GRAPH, outputs)
