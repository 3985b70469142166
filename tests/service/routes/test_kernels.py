"""`GET /v1/model/layers/{layer}/kernels`: the weights, in every form."""

import io
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from service.manifest import Manifest
from tests.service.refusals import refused
from tests.service.vector import SVG, described, parsed

Weights = Mapping[str, NDArray[np.float32]]
LAYERS = ["conv1", "conv2", "fc1", "logits"]
TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
    "npy": "application/x-npy",
    "npz": "application/x-npz",
}


def ask(client: httpx.Client, layer: str, accept: str = "*/*", **query: Any) -> httpx.Response:
    """Asks for kernels."""
    return client.get(f"/v1/model/layers/{layer}/kernels", params=query, headers={"Accept": accept})


@pytest.fixture(scope="module")
def weights(model_bytes: bytes) -> Weights:
    """Weight and bias of each node that has them, as the onnx package reads them: conv1.weight and so on."""
    graph: Any = onnx.load_from_string(model_bytes).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        f"{node.output[0]}.{kind}": constants[name]
        for node in graph.node
        if node.output[0] in LAYERS
        for kind, name in zip(("weight", "bias"), node.input[1:], strict=True)
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_numbers_are_those_of_the_file(client: httpx.Client, weights: Weights, layer: str) -> None:
    """JSON and NPZ have every bit of weight and bias, NPY of the weight."""
    weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
    body = ask(client, layer, format="json").json()
    assert next(iter(body)) == "model" and body["name"] == layer and tuple(body["shape"]) == weight.shape
    np.testing.assert_array_equal(np.array(body["weight"], np.float32), weight, strict=True)
    np.testing.assert_array_equal(np.array(body["bias"], np.float32), bias, strict=True)
    back = np.load(io.BytesIO(ask(client, layer, format="npy").content), allow_pickle=False)
    np.testing.assert_array_equal(back, weight, strict=True)
    with np.load(io.BytesIO(ask(client, layer, format="npz").content), allow_pickle=False) as arrays:
        assert sorted(arrays) == ["bias", "weight"]
        np.testing.assert_array_equal(arrays["weight"], weight, strict=True)
        np.testing.assert_array_equal(arrays["bias"], bias, strict=True)


def test_channels_are_outputs(client: httpx.Client, weights: Weights) -> None:
    """Those that are asked for, in every form that has numbers; JSON and a header say which."""
    answer = ask(client, "conv2", format="json", channels="30-31,2")
    assert answer.json()["channels"] == [2, 30, 31] and answer.headers["X-Digitscope-Channels"] == "2,30-31"
    expected = weights["conv2.weight"][[2, 30, 31]]
    np.testing.assert_array_equal(np.array(answer.json()["weight"], np.float32), expected)
    answer = ask(client, "conv2", format="npy", channels=["2", "30-31"])
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.content), allow_pickle=False), expected)
    assert answer.headers["X-Digitscope-Layers"] == "conv2=3x8x5x5"


@pytest.mark.parametrize(
    ("layer", "query"), [("conv1", {}), ("conv2", {}), ("fc1", {"channels": "0-9"}), ("logits", {})]
)
def test_pictures_are_drawn(client: httpx.Client, layer: str, query: dict[str, str]) -> None:
    """PNG and SVG of the same size, and the SVG says of each picture which weights it shows."""
    picture = Image.open(io.BytesIO(ask(client, layer, format="png", **query).content))
    picture.load()
    root = parsed(ask(client, layer, format="svg", **query).content)
    assert picture.format == "PNG" and picture.size == (int(root.attrib["width"]), int(root.attrib["height"]))
    assert root.findtext(f"{SVG}title") == f"Kernels of {layer}"
    assert all(title.startswith((f"{layer}, ", "legend")) and " to " in title for title in described(root))


@pytest.mark.parametrize("form", TYPES)
def test_every_form_says_whose_weights_they_are(client: httpx.Client, manifest: Manifest, form: str) -> None:
    """By Accept or by the query: the type, the model, its file's SHA-256, the shape, and what is folded in."""
    for answer in (ask(client, "conv1", format=form), ask(client, "conv1", accept=TYPES[form])):
        assert answer.status_code == 200 and answer.headers["Content-Type"] == TYPES[form]
        headers = {name: value for name, value in answer.headers.items() if name.startswith("x-digitscope")}
        assert headers == {
            "x-digitscope-model": f"digits/{manifest.version}",
            "x-digitscope-sha256": manifest.sha256,
            "x-digitscope-layers": "conv1=8x1x3x3",
            "x-digitscope-channels": "all",
            "x-digitscope-folded": "BatchNorm",
        }


def test_an_answer_that_is_known_is_not_sent_again(client: httpx.Client) -> None:
    """If-None-Match with its entity tag, in a list, weak or as a star is a 304 with no body; another tag is not."""
    answer = ask(client, "conv1", format="json")
    tag = answer.headers["ETag"]
    assert answer.headers["Cache-Control"] == "no-cache" and "Accept" in answer.headers["Vary"]
    path = "/v1/model/layers/conv1/kernels?format=json"
    for named in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(path, headers={"If-None-Match": named})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    for named in ("", '"other"', tag.strip('"')):
        assert client.get(path, headers={"If-None-Match": named}).content == answer.content


def test_entity_tags_tell_answers_apart(client: httpx.Client) -> None:
    """Each form, layer and choice has a tag of its own, and one choice has one, however it is written."""
    queries = [("conv1", {"format": form}) for form in TYPES]
    queries += [("conv2", {"format": "json"}), ("conv1", {"format": "json", "channels": "0-2"})]
    tags = [ask(client, layer, **query).headers["ETag"] for layer, query in queries]
    assert len(set(tags)) == len(tags)
    assert ask(client, "conv1", accept="application/json", channels="2,0,1").headers["ETag"] == tags[-1]


@pytest.mark.parametrize(
    ("layer", "query", "status", "said"),
    [
        ("relu1", {}, 404, "layer relu1 has no weights; it is to be one of conv1, conv2, fc1, logits"),
        (
            "pool2",
            {"format": "json"},
            404,
            "layer pool2 has no weights; it is to be one of conv1, conv2, fc1, logits",
        ),
        ("conv3", {}, 404, "the model has no layer 'conv3'; it has conv1, relu1, pool1"),
        ("CONV1", {}, 404, "the model has no layer 'CONV1'"),
        ("conv1", {"channels": "8"}, 400, "channels: conv1 has 0 to 7, and 8 is asked for"),
        ("conv1", {"channels": "a"}, 400, "channels: 'a' is neither a number nor a range such as 5-7"),
        ("conv1", {"format": "gif"}, 400, "format: "),
        ("fc1", {}, 400, "a picture shows at most 10 units of fc1, and 600 are asked for; channels=0-9 picks ten"),
        ("fc1", {"format": "svg", "channels": "1-11"}, 400, "at most 10 units of fc1, and 11 are asked for"),
    ],
)
def test_what_there_is_not_is_refused(
    client: httpx.Client, layer: str, query: dict[str, Any], status: int, said: str
) -> None:
    """Each wrong request gets its status and a sentence in JSON, also with an If-None-Match that any answer matches."""
    path = f"/v1/model/layers/{layer}/kernels"
    for headers in ({}, {"If-None-Match": "*"}):
        assert said in refused(client.get(path, params=query, headers=headers), status)
