"""The count of a message's fields before it is parsed, against what protobuf's own parser finds in the same bytes."""

from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import MalformedError, TooLargeError
from service.protocol.grpc import inference_pb2 as pb
from service.protocol.grpc.fields import ALL, MOST, Form, count
from tests.conftest import Mnist
from tests.service.protocol.grpc.calling import asking
from tests.service.protocol.grpc.conftest import Served

_VALUES = 1000
_REQUEST = pb.ModelInferRequest.DESCRIPTOR
_FORM = Form(_REQUEST)
_GROUP = 3


def number(value: int) -> bytes:
    """A varint."""
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(at: int, payload: bytes) -> bytes:
    """A field of a length and as many bytes."""
    return number(at << 3 | 2) + number(len(payload)) + payload


def fields(data: bytes) -> list[Any]:
    """Those of one message as protobuf tells them where it knows none of them."""
    return list(UnknownFieldSet(pb.ServerLiveRequest.FromString(data)))


def grouped(data: bytes) -> bool:
    """Whether there may be the beginning of a group, which protobuf reads and no message of the protocol has."""
    return any(byte & 7 == _GROUP for byte in data)


def within(data: bytes, descriptor: Any) -> tuple[bool, int, int]:
    """Whether no field is there more than 64 times in any message; how many there are, and bytes of contents."""
    found = fields(data)
    known = {field.number: field for field in descriptor.fields}
    total, fine, content = len(found), True, 0
    times: dict[int, int] = {}
    for each in found:
        its = known.get(each.field_number)
        values = 1
        if its is not None and each.wire_type == 2 and its.message_type is not None:
            inner, more, its_content = within(each.data, its.message_type)
            fine, total, content = fine and inner, total + more, content + its_content
        elif its is not None and each.wire_type == 2 and its.name == "shape":
            packed = pb.ModelInferRequest.InferInputTensor.FromString(field(3, each.data))
            values = max(1, len(packed.shape))
        elif descriptor.name == "InferTensorContents" and each.wire_type == 2:
            content += len(each.data)
        times[each.field_number] = times.get(each.field_number, 0) + values
    return fine and all(each <= 64 for each in times.values()), total, content


def agree(data: bytes) -> None:
    """Asserts that what is within the limits is let through, and nothing else that protobuf would parse."""
    try:
        pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return  # refused in any case, by this or by that
    fine, total, content = within(data, _REQUEST)
    fine = fine and total <= ALL and content <= 10 * _VALUES
    try:
        assert count(data, _FORM, _VALUES) == total
    except TooLargeError:
        assert not fine
    except MalformedError:
        assert grouped(data)
    else:
        assert fine


_few = st.one_of(st.integers(0, 3), st.integers(MOST - 1, MOST + 2))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Requests that have of everything few, or about as many as they may."""
    parameters = {str(n): pb.InferParameter(int64_param=n) for n in range(draw(_few))}
    request = pb.ModelInferRequest(
        model_name=draw(st.text(max_size=200)), raw_input_contents=[bytes(200)] * draw(_few), parameters=parameters
    )
    for _ in range(draw(_few)):
        request.outputs.add(name="logits")
    for _ in range(draw(_few)):
        request.inputs.add(name="image", datatype="UINT8")
    if request.inputs:
        tensor = request.inputs[-1]
        tensor.shape.extend(draw(st.lists(st.sampled_from([1, 28, 300, -1]), max_size=3)) * draw(_few))
        tensor.contents.uint_contents.extend([7] * draw(st.sampled_from([0, 1, 784, 10_000, 10_001])))
        tensor.contents.bytes_contents.extend([b""] * draw(_few))
        for n in range(draw(_few)):
            tensor.parameters[str(n)].bool_param = True
    unknown = draw(st.sampled_from([field(99, b"xyz"), number(99 << 3) + b"\x01", number(99 << 3 | 5) + bytes(4)]))
    return bytes(request.SerializeToString()) + unknown * draw(_few)


@given(messages())
def test_what_is_within_the_limits_is_never_refused_and_what_is_beyond_always(data: bytes) -> None:
    """By the count of protobuf's own parser, of requests near every limit."""
    agree(data)


_keys = st.builds(lambda at, wire: number(at << 3 | wire), st.integers(0, 9), st.sampled_from([0, 1, 2, 5]))
_pieces = st.recursive(
    st.one_of(_keys, st.binary(max_size=12), st.builds(number, st.integers(0, 2**64 - 1))),
    lambda inner: st.builds(field, st.integers(1, 9), st.lists(inner, max_size=4).map(b"".join)),
    max_leaves=20,
)


@given(st.lists(_pieces, max_size=8).map(b"".join), st.sampled_from([1, 30, 65]))
@example(field(5, b"\x18\x01" * 65), 1)  # a shape whose numbers are not packed
@example(field(5, field(3, b"\x01" * 40) + field(3, b"\x01" * 25)), 1)  # or packed twice
@example(field(5, field(3, (b"\xff" * 9 + b"\x01") * 64)), 1)
@example(field(5, field(3, (b"\xff" * 9 + b"\x01") * 65)), 1)
@example(field(4, field(2, field(3, b"s") * 40) * 30), 1)  # few of each, and too many together
@example(field(5, b"\x0a"), 1)  # an inner message that would end behind its end
def test_bytes_of_any_kind_are_counted_as_protobuf_reads_them(data: bytes, times: int) -> None:
    """Also fields of a wrong type, inner messages in pieces, and numbers that are longer than they need to be."""
    agree(data * times)


@given(st.lists(_pieces, max_size=8).map(b"".join))
@example(number(1 << 3 | _GROUP) + number(1 << 3 | 4))
def test_what_is_called_malformed_protobuf_refuses_too(data: bytes) -> None:
    """But for groups, which no message of the protocol has."""
    try:
        count(data, _FORM, _VALUES)
    except TooLargeError:
        pass
    except MalformedError:
        try:
            pb.ModelInferRequest.FromString(data)
        except DecodeError:
            return
        assert grouped(data)


@pytest.mark.parametrize(
    ("few", "name"),
    [(b"\x2a\0", "inputs"), (b"\x32\0", "outputs"), (b"\x3a\0", "raw_input_contents"), (b"\x22\0", "parameters")],
)
def test_millions_of_empty_fields_are_refused(served: Served, few: bytes, name: str) -> None:
    """32 MB of them, by their name; they are not parsed, and predictions go on."""
    bomb = few * ((32 << 20) // len(few) - 100)
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelInfer", bomb)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == f"there are more than 64 '{name}' in one ModelInferRequest"


def test_millions_of_values_are_refused(served: Served) -> None:
    """Packed, and in pieces, of which each would take eight times its byte; the most that may be of use is told."""
    tensor = field(5, field(5, field(3, bytes(2_007_040)) + field(6, b"1234")))
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelInfer", tensor)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    said = "the contents of tensors have more than 2,007,040 bytes, which no request needs"
    assert raised.value.details() == said


def test_no_request_of_digits_is_beyond(mnist: Mnist) -> None:
    """As many images as are taken, raw and as numbers, which need more bytes than they have values."""
    images = mnist.images[:256]
    assert count(asking(images, "logits", "probabilities").SerializeToString(), _FORM, images.size) == 10
    white = np.full_like(images, 255)
    assert count(asking(white, raw=False).SerializeToString(), _FORM, images.size) == 7
