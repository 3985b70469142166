"""Tensors as bytes behind the JSON, in and out, in every mixture; real numbers beside the model's own bytes."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.protocol.frames import INFER, LENGTH, infer, read, request
from tests.service.refusals import refused

Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
BINARY = {"parameters": {"binary_data": True}}
JSON = {"parameters": {"binary_data": False}}


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_every_mixture_gives_the_same_numbers(
    client: httpx.Client, mnist: Mnist, plain: Any, binary: bool, nested: bool, out: bool, kind: Any
) -> None:
    """Bytes or JSON in, nested or flat, bytes or JSON out, UINT8 or FP32: plain ONNX Runtime's logits each time."""
    images = mnist.images[20:25]
    sent = images if kind == np.uint8 else (images / np.float32(255)).astype(np.float32)
    found = infer(client, sent, binary=binary, nested=nested, parameters={"binary_data_output": out}, id="m")
    assert list(found.values) == ["logits", "probabilities"]
    assert set(found.ways.values()) == {"binary" if out else "json"}
    assert found.header["id"] == "m" and found.header["model_name"] == "digits"
    for name, expected in zip(found.values, plain.run(list(found.values), {"image": images[:, None]}), strict=True):
        assert found.values[name].shape == (5, 10)
        np.testing.assert_allclose(found.values[name], expected, atol=1e-4)


@pytest.mark.parametrize("default", [None, False, True])
def test_an_output_decides_for_itself(client: httpx.Client, mnist: Mnist, default: bool | None) -> None:
    """Where an output says how it is wanted, that counts; where it does not, the request does; the order is kept."""
    outputs = [
        {"name": "fc1"} | BINARY,
        {"name": "logits"},
        {"name": "probabilities"} | JSON,
        {"name": "pool2"} | BINARY,
    ]
    more = {} if default is None else {"parameters": {"binary_data_output": default}}
    found = infer(client, mnist.images[:2], outputs, **more)
    assert list(found.values) == ["fc1", "logits", "probabilities", "pool2"]
    middle = "binary" if default else "json"
    assert list(found.ways.values()) == ["binary", middle, "json", "binary"]
    assert [values.shape for values in found.values.values()] == [(2, 600), (2, 10), (2, 10), (2, 32, 7, 7)]


@pytest.mark.parametrize("out", [False, True])
def test_all_feature_maps_are_there_in_any_order(
    client: httpx.Client, mnist: Mnist, reference: Reference, manifest: Manifest, out: bool
) -> None:
    """Every layer of the manifest and both outputs, last first, have the values of ONNX's reference evaluator."""
    layers = [layer.name for layer in manifest.layers if layer.name != "logits"]
    names = [*reversed(layers), "probabilities", "logits"]
    assert set(names) >= {"conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"}
    images = mnist.images[40:42]
    outputs = [{"name": name} for name in names]
    found = infer(client, images, outputs, binary=True, parameters={"binary_data_output": out})
    assert list(found.values) == names
    expected = reference(images[:, None])
    for name in names:
        assert found.values[name].shape == expected[name].shape
        np.testing.assert_allclose(found.values[name], expected[name], atol=1e-4)


@pytest.mark.parametrize("count", [1, 3, 256])
def test_bare_digits_need_no_json(client: httpx.Client, mnist: Mnist, plain: Any, count: int) -> None:
    """With a header length of 0 the body is the digits' own bytes, and both outputs come as bytes."""
    images = mnist.images[:count]
    found = read(client.post(INFER, content=images.tobytes(), headers={LENGTH: "0"}))
    assert list(found.ways.items()) == [("logits", "binary"), ("probabilities", "binary")]
    for name, expected in zip(found.values, plain.run(list(found.values), {"image": images[:, None]}), strict=True):
        np.testing.assert_allclose(found.values[name], expected, atol=1e-4)


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "application/json", "text/html", "no type"])
def test_no_content_type_is_needed(client: httpx.Client, mnist: Mnist, content_type: str | None) -> None:
    """JSON and bytes are told apart by the header length alone, as Triton does."""
    for binary in (False, True):
        body, headers = request(mnist.images[:1], binary=binary)
        fields = headers | ({} if content_type is None else {"Content-Type": content_type})
        assert list(read(client.post(INFER, content=body, headers=fields)).values) == ["logits", "probabilities"]


def test_a_header_length_may_be_all_of_the_body(client: httpx.Client, mnist: Mnist) -> None:
    """JSON alone whose length is told is still JSON alone, long or short."""
    for count in (1, 3):
        body, _ = request(mnist.images[:count])
        assert len(read(client.post(INFER, content=body, headers={LENGTH: str(len(body))})).values["logits"]) == count


def test_the_same_header_with_other_bytes_is_another_request(client: httpx.Client, mnist: Mnist, plain: Any) -> None:
    """Headers are kept once they are understood, and never what followed them."""
    (expected,) = plain.run(["logits"], {"image": mnist.images[:20, None]})
    for place in (*range(20), *range(20)):
        found = infer(client, mnist.images[place : place + 1], binary=True)
        np.testing.assert_allclose(found.values["logits"], expected[place : place + 1], atol=1e-4)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        ("-1", "is to be a number of bytes"),
        ("", "is to be a number of bytes"),
        ("1.5", "is to be a number of bytes"),
        ("0x10", "is to be a number of bytes"),
        ("²", "is to be a number of bytes"),
        ("1" * 13, "is to be a number of bytes"),
        ("999999", "the JSON is said to have 999,999 bytes, and the body has"),
        ("1", "the body is no JSON"),
    ],
)
def test_a_wrong_header_length_is_refused(client: httpx.Client, mnist: Mnist, length: str, said: str) -> None:
    """What is no number, or beyond the body, or in the middle of the JSON, is a 400 with a sentence."""
    body, _ = request(mnist.images[:1], binary=True)
    answer = client.post(INFER, content=body, headers={LENGTH.encode(): length.encode("latin-1")})
    assert said in refused(answer, 400)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body[:-1], "783 bytes follow the JSON, and its inputs say 784"),
        (lambda body: body + b"x", "785 bytes follow the JSON, and its inputs say 784"),
        (lambda body: body[:-784], "0 bytes follow the JSON, and its inputs say 784"),
    ],
)
def test_bytes_too_few_or_too_many_are_refused(client: httpx.Client, mnist: Mnist, change: Any, said: str) -> None:
    """The body has exactly what its header says."""
    body, headers = request(mnist.images[:1], binary=True)
    assert refused(client.post(INFER, content=change(body), headers=headers), 400) == said


@pytest.mark.parametrize(
    ("tensor", "rest", "said"),
    [
        (
            {"parameters": {"binary_data_size": 783}},
            783,
            "the tensor has 783 bytes, but its shape and datatype say 784",
        ),
        ({"parameters": {"binary_data_size": 784}, "datatype": "FP32"}, 784, "say 3,136"),
        ({"parameters": {"binary_data_size": 784}, "shape": [2, 1, 28, 28]}, 784, "say 1,568"),
        ({"parameters": {"binary_data_size": -1}}, 0, "wrong at inputs.0.parameters.binary_data_size"),
        ({"parameters": {"binary_data_size": "784"}}, 784, "wrong at inputs.0.parameters.binary_data_size"),
        ({"parameters": {"binary_data_size": 784.5}}, 784, "wrong at inputs.0.parameters.binary_data_size"),
        ({"parameters": 7}, 0, "wrong at inputs.0.parameters"),
        ({}, 0, "the input has neither data nor a binary_data_size"),
        ({"data": [0] * 784}, 784, "784 bytes follow the JSON, and its inputs say 0"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(
    client: httpx.Client, tensor: dict[str, Any], rest: int, said: str
) -> None:
    """Sizes, shapes and datatypes that do not fit each other are named."""
    whole = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8"} | tensor
    header = json.dumps({"inputs": [whole]}).encode()
    answer = client.post(INFER, content=header + bytes(rest), headers={LENGTH: str(len(header))})
    assert said in refused(answer, 400)


@pytest.mark.parametrize("length", [0, 1, 783, 785])
def test_bare_bytes_that_are_no_digits_are_refused(client: httpx.Client, length: int) -> None:
    """The raw form too has whole digits."""
    said = refused(client.post(INFER, content=bytes(length), headers={LENGTH: "0"}), 400)
    assert said == f"a raw body is digits of 784 bytes each, and {length} bytes are no multiple"


def test_too_many_images_are_too_large_in_every_form(client: httpx.Client) -> None:
    """257 images are a 413, as bytes, bare and as JSON."""
    images = np.zeros((257, 28, 28), np.uint8)
    bodies = [request(images), request(images, binary=True), (images.tobytes(), {LENGTH: "0"})]
    for body, headers in bodies:
        said = refused(client.post(INFER, content=body, headers=headers), 413)
        assert said == "the request has 257 images, and at most 256 are taken at once"


@pytest.mark.parametrize("asked", [{"name": "logits", "parameters": {"binary_data": 1}}, {"name": 7}, 7, {}])
def test_an_output_that_is_none_is_refused(client: httpx.Client, mnist: Mnist, asked: Any) -> None:
    """What is asked for has a name, and its parameters their types."""
    body, headers = request(mnist.images[:1], [asked])
    assert "wrong at outputs.0" in refused(client.post(INFER, content=body, headers=headers), 400)


unit = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float32, (1, 28, 28), elements=unit), st.booleans())
def test_real_numbers_become_the_nearest_level(
    client: httpx.Client, plain: Any, values: NDArray[np.float32], binary: bool
) -> None:
    """0 to 1 is 0 to 255: the answer is that of the levels which float64 arithmetic rounds to."""
    scaled = values.astype(np.float64) * 255
    # Where float32 may fall on either side of a half, the value is moved off it: nobody can tell which is nearer.
    levels = np.rint(scaled)
    values = np.where(np.abs(np.abs(scaled - levels) - 0.5) < 1e-3, levels / 255, values).astype(np.float32)
    found = infer(client, values, binary=binary)
    (expected,) = plain.run(["logits"], {"image": levels.astype(np.uint8)[:, None]})
    np.testing.assert_allclose(found.values["logits"], expected, atol=1e-4)


@pytest.mark.parametrize("bad", [-0.001, 1.001, 255.0, np.nan, np.inf, -np.inf, 3e38])
def test_real_numbers_beyond_0_to_1_are_refused(client: httpx.Client, bad: float) -> None:
    """One of 784 is enough, in bytes and, where JSON can say it, in JSON."""
    values = np.full((1, 28, 28), 0.5, np.float32)
    values[0, 20, 20] = bad
    for binary in (True, False):
        body, headers = request(values, binary=binary)
        said = refused(client.post(INFER, content=body, headers=headers), 400)
        if binary or np.isfinite(bad):
            assert said.startswith("the data of datatype FP32 is to be numbers from 0 to 1")
        else:
            assert said.startswith("the body is no JSON")


@pytest.mark.parametrize("data", [["0"], [None], [True], [[0.5]], [{}], [0.5, "x"]])
def test_what_is_no_number_is_no_real_number(client: httpx.Client, data: list[Any]) -> None:
    """Of datatype FP32 as of UINT8: text, truth and nothing are not converted."""
    tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": (data * 784)[:784]}
    sentence = refused(client.post(INFER, json={"inputs": [tensor]}), 400)
    assert "FP32" in sentence or "nested" in sentence


def test_whole_numbers_are_real_numbers_too(client: httpx.Client) -> None:
    """JSON writes 1.0 as 1, and both are white."""
    answers = []
    for white in (1, 1.0):
        tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0, white] * 392}
        answers.append(client.post(INFER, json={"inputs": [tensor]}).json())
    assert answers[0] == answers[1] and answers[0]["outputs"]
