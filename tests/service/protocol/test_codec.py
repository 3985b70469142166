"""The protocol's requests and answers as values: nested or flat in, flat out, a sentence for all that is wrong."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.errors import MalformedError, RequestError, TooLargeError
from service.manifest import Manifest
from service.protocol.codec import decode, encode
from service.protocol.inference import Inference, Output

MOST = 5  # images
images = arrays(np.uint8, st.tuples(st.integers(1, MOST), st.just(1), st.just(28), st.just(28)))


def request(**changes: Any) -> dict[str, Any]:
    """A good request of one black image, with some fields of its tensor changed."""
    tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
    return {"inputs": [tensor | changes]}


def refusal(body: Any, manifest: Manifest) -> str:
    """The sentence by which a body is refused as malformed."""
    with pytest.raises(MalformedError) as error:
        decode(body if isinstance(body, bytes) else json.dumps(body).encode(), None, manifest, MOST)
    return str(error.value)


def decoded(body: Any, manifest: Manifest) -> Inference:
    """The inference of a body of JSON alone."""
    return decode(json.dumps(body).encode(), None, manifest, MOST)


def names(inference: Inference) -> list[str]:
    """The outputs that it is for."""
    return [output.name for output in inference.selection.outputs]


@settings(deadline=None, max_examples=20)
@given(images, st.booleans())
def test_nested_and_flat_data_are_the_same(manifest: Manifest, values: NDArray[np.uint8], flat: bool) -> None:
    """Every pixel arrives at its place, in either of the forms that the protocol allows."""
    data = (values.reshape(-1) if flat else values).tolist()
    inference = decoded(request(shape=list(values.shape), data=data), manifest)
    np.testing.assert_array_equal(np.frombuffer(inference.pixels, np.uint8).reshape(values.shape), values)


def test_only_logits_and_probabilities_are_answered_unasked(manifest: Manifest) -> None:
    """Without outputs, or with an empty list of them, the feature maps stay where they are."""
    unasked: list[dict[str, Any]] = [{}, {"outputs": None}, {"outputs": []}]
    for more in unasked:
        selection = decoded(request() | more, manifest).selection
        assert selection.outputs == (Output("logits"), Output("probabilities"))
        assert selection.predicted and not selection.layers and not selection.numbers


def test_outputs_are_chosen_by_name(manifest: Manifest) -> None:
    """In the order asked for, feature maps and outputs alike."""
    asked = ["fc1", "probabilities", "conv1"]
    inference = decoded(request() | {"outputs": [{"name": name} for name in asked]}, manifest)
    assert names(inference) == asked
    assert inference.selection.layers == ("fc1", "conv1") and inference.selection.predicted
    assert not decoded(request() | {"outputs": [{"name": "conv1"}]}, manifest).selection.predicted


def test_parameters_are_passed_over(manifest: Manifest) -> None:
    """Parameters of the request, the input and the outputs are allowed, as the protocol says."""
    body = request(parameters={"a": 1}) | {"parameters": {"b": 2}, "outputs": [{"name": "fc1", "parameters": {"c": 3}}]}
    assert decoded(body | {"id": "x"}, manifest).id == "x"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "pixels"}, "the model's input is named 'image', not 'pixels'"),
        ({"datatype": "FP64"}, "the datatype of 'image' is UINT8 (0 to 255), or FP32 (0 to 1), not 'FP64'"),
        ({"shape": [784]}, "the shape of 'image' is [-1, 1, 28, 28]"),
        ({"shape": [1, 28, 28]}, "the shape of 'image'"),
        ({"shape": [0, 1, 28, 28], "data": []}, "the shape of 'image'"),
        ({"shape": [-1, 1, 28, 28]}, "with 1 or more for −1"),
        ({"shape": []}, "the shape of 'image'"),
        ({"shape": "1,1,28,28"}, "wrong at inputs.0.shape"),
        ({"shape": [2, 1, 28, 28]}, "the data has 784 values, but its shape [2, 1, 28, 28] says 1,568"),
        ({"data": [0] * 783}, "the data has 783 values"),
        ({"data": []}, "the data has 0 values"),
        ({"data": [[0] * 28] * 28}, "not nested as its shape [1, 1, 28, 28] says"),
        ({"data": [[0] * 700, [0] * 84]}, "not nested as its shape"),
        ({"data": [256] * 784}, "whole numbers from 0 to 255"),
        ({"data": [-1] * 784}, "whole numbers from 0 to 255"),
        ({"data": [0.5] * 784}, "whole numbers from 0 to 255"),
        ({"data": [2**64] * 784}, "whole numbers from 0 to 255"),
        ({"data": ["0"] * 784}, "whole numbers from 0 to 255"),
        ({"data": [True] * 784}, "whole numbers from 0 to 255"),
        ({"data": [0] * 783 + [True]}, "whole numbers from 0 to 255"),
        ({"data": [0] * 783 + ["0"]}, "whole numbers from 0 to 255"),
        ({"data": [[[[0] * 28] * 27 + [[0] * 27]]]}, "not nested as its shape"),
        ({"data": [[[[0] * 28] * 27 + [0]]]}, "not nested as its shape"),
        ({"data": [[[[[0]] * 28] * 28]]}, "whole numbers from 0 to 255"),
        ({"shape": [1.0, 1, 28, 28]}, "wrong at inputs.0.shape.0"),
        ({"shape": ["1", 1, 28, 28]}, "wrong at inputs.0.shape.0"),
        ({"data": [None] * 784}, "whole numbers from 0 to 255"),
        ({"data": [{}] * 784}, "whole numbers from 0 to 255"),
        ({"data": "AAAA"}, "wrong at inputs.0.data"),
        ({"data": None}, "the input has neither data nor a binary_data_size"),
    ],
)
def test_a_wrong_tensor_is_refused(manifest: Manifest, changes: dict[str, Any], said: str) -> None:
    """Each names what is wrong, and what would be right."""
    assert said in refusal(request(**changes), manifest)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"\xff", "the body is no JSON"),
        (b"[" * 5000, "the body is no JSON"),
        (b"[]", "wrong at the body"),
        (b"null", "wrong at the body"),
        (b"{}", "wrong at inputs: Field required"),
        ({"inputs": []}, "takes one input, 'image', and 0 were sent"),
        ({"inputs": request()["inputs"] * 2}, "takes one input, 'image', and 2 were sent"),
        (request() | {"outputs": [{"name": "conv3"}]}, "the model has no output 'conv3'"),
        (request() | {"outputs": ["fc1"]}, "wrong at outputs.0"),
        (request() | {"id": 7}, "wrong at id"),
        (request() | {"outputs": [{"name": "fc1"}, {"name": "fc1"}]}, "an output is asked for twice"),
    ],
)
def test_a_wrong_request_is_refused(manifest: Manifest, body: Any, said: str) -> None:
    """What is no JSON, or no such request, is named with the place where it is wrong."""
    assert said in refusal(body, manifest)


def test_too_many_images_are_refused(manifest: Manifest) -> None:
    """The limit is exact, and the message names it."""
    body = request(shape=[MOST + 1, 1, 28, 28], data=[0] * (784 * (MOST + 1)))
    with pytest.raises(TooLargeError, match=r"^the request has 6 images, and at most 5 are taken at once$"):
        decoded(body, manifest)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "name", "shape"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), anything, max_size=3),
    st.dictionaries(st.sampled_from(["inputs", "outputs", "id", "parameters"]), anything, max_size=1),
)
def test_arbitrary_requests_raise_only_our_errors(
    manifest: Manifest, tensor: dict[str, Any], more: dict[str, Any]
) -> None:
    """However wrong a request is, it is refused by a sentence, or it is a request."""
    try:
        inference = decoded(request(**tensor) | more, manifest)
    except RequestError:
        return
    assert len(inference.pixels) == 784


@pytest.mark.parametrize("request_id", [None, "", "seven"])
def test_an_answer_is_flat_and_named(manifest: Manifest, request_id: str | None) -> None:
    """Tensors are flat in row-major order with their shapes, and an id is there if one was sent."""
    body = request() | ({} if request_id is None else {"id": request_id}) | {"outputs": [{"name": "pool1"}]}
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    answer, header_length = encode(decoded(body, manifest), {"pool1": values}, manifest)
    assert header_length is None
    assert json.loads(answer) == {
        "model_name": "digits",
        "model_version": manifest.version,
        **({} if request_id is None else {"id": request_id}),
        "outputs": [{"name": "pool1", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": list(range(12))}],
    }
