"""`POST /v1/features`: what each layer makes of a picture, as PNG, JSON, NPY and NPZ."""

import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused

Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
LAYERS = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"]
TYPES = {"png": "image/png", "json": "application/json", "npy": "application/x-npy", "npz": "application/x-npz"}


def ask(client: httpx.Client, *images: NDArray[np.uint8], accept: str = "*/*", **query: Any) -> httpx.Response:
    """Sends digits that are taken as they are: one as the raw body, several as parts."""
    pictures = [encode(image) for image in images]
    body: dict[str, Any] = {"content": pictures[0]}
    if len(pictures) > 1:
        body = {"files": [("files", ("digit.png", picture)) for picture in pictures]}
    return client.post("/v1/features", params={"preprocess": "none", **query}, headers={"Accept": accept}, **body)


def load(answer: httpx.Response) -> Any:
    """What NumPy reads without pickle."""
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content), allow_pickle=False)


@pytest.mark.parametrize("count", [1, 3])
def test_npz_holds_what_onnx_computes(client: httpx.Client, mnist: Mnist, reference: Reference, count: int) -> None:
    """Every layer of every picture is that of ONNX's reference evaluator, as float32."""
    images = mnist.images[20 : 20 + count]
    expected = reference(images[:, None])
    with load(ask(client, *images, layer="all", format="npz")) as layers:
        assert list(layers) == LAYERS
        for name in LAYERS:
            assert layers[name].dtype == np.float32
            np.testing.assert_allclose(layers[name], expected[name], atol=1e-4, err_msg=name)


def test_npy_holds_one_layer(client: httpx.Client, mnist: Mnist, reference: Reference) -> None:
    """One array, (pictures, *shape)."""
    values = load(ask(client, *mnist.images[:2], layer="pool2", format="npy"))
    assert values.shape == (2, 32, 7, 7)
    np.testing.assert_allclose(values, reference(mnist.images[:2, None])["pool2"], atol=1e-4)


def test_json_nests_the_values(client: httpx.Client, mnist: Mnist, reference: Reference) -> None:
    """Each layer with its description and its values, nested as (pictures, *shape), in the network's order."""
    answer = ask(client, *mnist.images[:2], layer=["fc1", "relu1"], format="json")
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert body["model"]["name"] == "digits"
    described = [(layer["name"], layer["operator"], layer["shape"], layer["signed"]) for layer in body["layers"]]
    assert described == [("relu1", "Relu", [8, 28, 28], False), ("fc1", "Gemm", [600], True)]
    expected = reference(mnist.images[:2, None])
    for layer in body["layers"]:
        np.testing.assert_allclose(np.array(layer["values"]), expected[layer["name"]], atol=1e-4)


def test_json_gives_float32_back_exactly(client: httpx.Client, mnist: Mnist) -> None:
    """The digits in JSON are enough for every bit that NPY has."""
    image = mnist.images[4]
    exact = load(ask(client, image, layer="fc1", format="npy"))
    values = np.array(ask(client, image, layer="fc1", format="json").json()["layers"][0]["values"], np.float32)
    np.testing.assert_array_equal(values, exact)


@pytest.mark.parametrize("layers", [["conv1"], ["conv2", "fc1"], ["all"]])
@pytest.mark.parametrize("scale", ["map", "layer", "all"])
def test_png_is_a_picture(client: httpx.Client, mnist: Mnist, layers: list[str], scale: str) -> None:
    """The sheet is 760 pixels wide, and the more layers, the longer."""
    picture = Image.open(io.BytesIO(ask(client, mnist.images[0], layer=layers, scale=scale).content))
    picture.load()
    assert picture.format == "PNG" and picture.width == 760
    assert (picture.height > 1000) == (layers == ["all"])


def test_scales_differ(client: httpx.Client, mnist: Mnist) -> None:
    """The three scales give three pictures, and the layer's is the default."""
    query = {"layer": "conv1,conv2"}
    sheets = {scale: ask(client, mnist.images[0], scale=scale, **query).content for scale in ("map", "layer", "all")}
    assert len(set(sheets.values())) == 3
    assert ask(client, mnist.images[0], **query).content == sheets["layer"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", "png"),
        ("", "png"),
        ("text/html", "png"),
        ("image/*", "png"),
        ("image/png", "png"),
        ("application/json", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/x-npy", "npy"),
        ("text/html, application/x-npz;q=0.9", "npz"),
        ("application/x-npz, application/json", "npz"),
    ],
)
def test_the_accept_header_chooses(client: httpx.Client, mnist: Mnist, accept: str, chosen: str) -> None:
    """The first format that is named is taken, and PNG where none is."""
    answer = ask(client, mnist.images[0], accept=accept)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == TYPES[chosen]


@pytest.mark.parametrize("chosen", TYPES)
def test_the_query_beats_the_accept_header(client: httpx.Client, mnist: Mnist, chosen: str) -> None:
    """?format= decides, whatever the header says."""
    answer = ask(client, mnist.images[0], accept="application/json, image/png", format=chosen)
    assert answer.headers["Content-Type"] == TYPES[chosen]


def test_conv1_is_the_default_layer(client: httpx.Client, mnist: Mnist) -> None:
    """With no layer named, the first one is shown."""
    with load(ask(client, mnist.images[0], format="npz")) as layers:
        assert list(layers) == ["conv1"]


def test_a_picture_is_preprocessed(client: httpx.Client) -> None:
    """A large drawing is made what MNIST would hold here too, and refused where it is to be taken as it is."""
    answer = client.post("/v1/features?format=npy&layer=pool1", content=encode(drawn()))
    assert load(answer).shape == (1, 8, 14, 14)
    answer = client.post("/v1/features?preprocess=none", content=encode(drawn()))
    assert "takes 28×28" in refused(answer, 400)


def test_prepared_digits_are_taken(client: httpx.Client, mnist: Mnist, reference: Reference) -> None:
    """n×784 bytes are looked into like pictures."""
    headers = {"Content-Type": "application/octet-stream", "Accept": "application/x-npy"}
    answer = client.post("/v1/features?layer=fc1", content=mnist.images[:5].tobytes(), headers=headers)
    np.testing.assert_allclose(load(answer), reference(mnist.images[:5, None])["fc1"], atol=1e-4)


@pytest.mark.parametrize(
    ("query", "count", "status", "said"),
    [
        (
            {"layer": "conv3"},
            1,
            404,
            "no layer 'conv3'; it has conv1, relu1, pool1, conv2, relu2, pool2, fc1, fc1_relu",
        ),
        ({"layer": ["conv1", "x"]}, 1, 404, "no layer 'x'"),
        ({"format": "gif"}, 1, 400, "format: "),
        ({"scale": "none"}, 1, 400, "scale: "),
        ({"format": "png"}, 2, 400, "a PNG shows one picture, and 2 were sent; format=json or npz holds several"),
        (
            {"format": "npy", "layer": "all"},
            1,
            400,
            "NPY holds one layer, and 8 are asked for; format=npz holds several",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(
    client: httpx.Client, mnist: Mnist, query: dict[str, Any], count: int, status: int, said: str
) -> None:
    """Each wrong request gets its status and a sentence, in JSON whatever format was asked for."""
    assert said in refused(ask(client, *mnist.images[:count], **query), status)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json;q=0.1, image/png", "png"),
        ("image/png;q=0.5, application/x-npz;q=0.9", "npz"),
        ("application/json;q=0", "png"),
        ("application/json;q=nonsense", "json"),
        ("APPLICATION/JSON", "json"),
        ("text/html, application/x-npy ; q=0.2", "npy"),
    ],
)
def test_the_weights_of_accept_count(client: httpx.Client, mnist: Mnist, accept: str, expected: str) -> None:
    """What is wanted most is sent, and what is not wanted at all is not."""
    assert ask(client, mnist.images[0], accept=accept).headers["Content-Type"] == TYPES[expected]
