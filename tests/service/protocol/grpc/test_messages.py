"""Inference over gRPC: values, forms of input and output, and what is refused about them."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from service.protocol.grpc import inference_pb2 as pb
from tests.conftest import Mnist
from tests.service.protocol.grpc.calling import asking, tensors
from tests.service.protocol.grpc.conftest import Served
from tests.service.serving import VERSION

Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]


@pytest.mark.parametrize("count", [1, 5, 256])
@pytest.mark.parametrize("raw", [True, False])
def test_values_are_those_of_plain_onnx_runtime(
    served: Served, mnist: Mnist, plain: Any, count: int, raw: bool
) -> None:
    """Raw or as numbers, the digits lead to both outputs, raw and as ONNX Runtime alone has them."""
    images = mnist.images[:count]
    answer = served.grpc.call("ModelInfer", asking(images, raw=raw))
    assert (answer.model_name, answer.model_version, answer.id) == ("digits", VERSION, "")
    found = tensors(answer)
    assert list(found) == ["logits", "probabilities"]
    for name, expected in zip(found, plain.run(list(found), {"image": images[:, None]}), strict=True):
        np.testing.assert_allclose(found[name], expected, atol=1e-4)


@pytest.mark.parametrize("raw", [True, False])
def test_real_numbers_from_0_to_1_are_converted(served: Served, mnist: Mnist, plain: Any, raw: bool) -> None:
    """FP32, raw or in fp32_contents, gives what the same digits of UINT8 give."""
    images = mnist.images[:3]
    reals = (images / 255).astype("<f4")
    request = pb.ModelInferRequest(model_name="digits")
    tensor = request.inputs.add(name="image", datatype="FP32", shape=(3, 1, 28, 28))
    if raw:
        request.raw_input_contents.append(reals.tobytes())
    else:
        tensor.contents.fp32_contents.extend(reals.ravel())
    found = tensors(served.grpc.call("ModelInfer", request))["probabilities"]
    np.testing.assert_allclose(found, plain.run(["probabilities"], {"image": images[:, None]})[0], atol=1e-4)


def test_feature_maps_are_outputs_too(served: Served, mnist: Mnist, reference: Reference) -> None:
    """Asked for by name, outputs come in that order with the values of ONNX's reference evaluator."""
    names = ["fc1_relu", "conv1", "probabilities", "pool2"]
    found = tensors(served.grpc.call("ModelInfer", asking(mnist.images[:3], *names)))
    assert list(found) == names
    expected = reference(mnist.images[:3, None])
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_classification_tells_the_best_with_their_labels(served: Served, mnist: Mnist, plain: Any) -> None:
    """Elements of BYTES, each behind its length: value, index and label, best first."""
    images = mnist.images[:2]
    request = asking(images, "probabilities")
    request.outputs[0].parameters["classification"].int64_param = 3
    answer = served.grpc.call("ModelInfer", request)
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 3])
    raw = answer.raw_output_contents[0]
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + size].decode().split(":"))
        raw = raw[4 + size :]
    expected = plain.run(["probabilities"], {"image": images[:, None]})[0]
    best = np.argsort(-expected, axis=1)[:, :3]
    assert [int(index) for _, index, _ in found] == best.ravel().tolist()
    assert [label for _, _, label in found] == [str(digit) for digit in best.ravel()]
    values = [float(value) for value, _, _ in found]
    np.testing.assert_allclose(values, np.take_along_axis(expected, best, axis=1).ravel(), atol=1e-4)


def test_the_version_and_the_id_come_back(served: Served, mnist: Mnist) -> None:
    """A version that is served may be named, and an id is given back."""
    answer = served.grpc.call("ModelInfer", asking(mnist.images[:1], model_version=VERSION, id="a-7"))
    assert (answer.model_version, answer.id) == (VERSION, "a-7")


def _another(**changes: Any) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        tensor = request.inputs[0]
        shape = changes.pop("shape", None)
        for name, value in changes.items():
            setattr(tensor, name, value)
        if shape is not None:
            tensor.shape[:] = shape

    return change


def _contents(field: str, values: list[Any], *, keep_raw: bool = False) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        if not keep_raw:
            del request.raw_input_contents[:]
        getattr(request.inputs[0].contents, field).extend(values)

    return change


def _parameter(kind: str, value: Any) -> Callable[[Any], None]:
    return lambda request: setattr(request.parameters["timeout"], kind, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda request: request.ClearField("inputs"), "takes one input, 'image', and 0 were sent"),
        (lambda request: request.inputs.add(name="image"), "takes one input, 'image', and 2 were sent"),
        (_another(name="picture"), "the model's input is named 'image', not 'picture'"),
        (_another(datatype="INT8"), "not 'INT8'"),
        (_another(shape=[]), "with 1 or more for −1"),
        (_another(shape=[0, 1, 28, 28]), "with 1 or more for −1"),
        (_another(shape=[1, 28, 28]), "with 1 or more for −1"),
        (_another(shape=[257, 1, 28, 28]), "257 images, and at most 256"),
        (_another(shape=[2, 1, 28, 28]), "has 784 bytes, but its shape and datatype say 1,568"),
        (lambda request: request.ClearField("raw_input_contents"), "raw_input_contents or in uint_contents"),
        (lambda request: request.raw_input_contents.append(b""), "one element an input"),
        (_contents("uint_contents", [0] * 784, keep_raw=True), "one element an input"),
        (_contents("int_contents", [0] * 784), "raw_input_contents or in uint_contents"),
        (_contents("uint_contents", [0] * 783), "has 783 values, but its shape [1, 1, 28, 28] says 784"),
        (_contents("uint_contents", [256] * 784), "whole numbers from 0 to 255"),
        (lambda request: request.outputs.add(name="conv9"), "no output 'conv9'"),
        (lambda request: [request.outputs.add(name="logits") for _ in range(2)], "asked for twice"),
        (_parameter("int64_param", -1), "'timeout' is to be a whole number"),
        (_parameter("string_param", "1"), "'timeout' is to be a whole number"),
    ],
)
def test_what_is_wrong_is_said(served: Served, mnist: Mnist, change: Callable[[Any], None], said: str) -> None:
    """A request that the model does not take is an invalid argument, in the sentence that HTTP has for it."""
    request = asking(mnist.images[:1])
    change(request)
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelInfer", request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in raised.value.details()


def test_a_real_number_beyond_1_is_refused(served: Served) -> None:
    """FP32 of 0 to 255 is the likeliest mistake, and is told as such."""
    request = pb.ModelInferRequest(model_name="digits")
    request.inputs.add(name="image", datatype="FP32", shape=(1, 1, 28, 28)).contents.fp32_contents.extend([7.0] * 784)
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelInfer", request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "0 to 255 are of datatype UINT8" in raised.value.details()


@pytest.mark.parametrize("field", ["model_name", "model_version"])
def test_another_model_or_version_is_not_found(served: Served, mnist: Mnist, field: str) -> None:
    """The sentence names what was asked for."""
    request = asking(mnist.images[:1])
    setattr(request, field, "77")
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelInfer", request)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert "'77'" in raised.value.details()
