"""`POST /v1/features`: what each layer makes of a picture, as PNG, SVG, JSON, NPY and NPZ."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.vector import SVG, described, parsed, shown
from training.checkpoint import load_checkpoint

Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
LAYERS = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"]
TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
    "npy": "application/x-npy",
    "npz": "application/x-npz",
}


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


def test_every_value_is_that_of_the_unfolded_network(
    client: httpx.Client, mnist: Mnist, model_folder: Path, manifest: Manifest
) -> None:
    """All layers, channels and values of 128 digits are PyTorch's in float64, from the network before folding.

    There convolution and BatchNorm are apart, and the logits not divided by the temperature. No value differs by more
    than 1e-5 of its layer's largest magnitude.
    """
    images = mnist.images[:128]
    network = load_checkpoint(model_folder / "checkpoint.safetensors").network.double()
    with torch.no_grad():
        exact = {
            name: values.numpy()
            for name, values in network.activations(torch.from_numpy(images[:, None].astype(np.float64))).items()
        }
    exact["logits"] /= manifest.temperature
    headers = {"Content-Type": "application/octet-stream"}
    answer = client.post("/v1/features?layer=all&format=npz", content=images.tobytes(), headers=headers)
    with load(answer) as layers:
        found = {name: layers[name] for name in LAYERS}
    tensor = {"name": "image", "datatype": "UINT8", "shape": [128, 1, 28, 28], "data": images.ravel().tolist()}
    inferred = client.post(
        f"/v2/models/digits/versions/{manifest.version}/infer",
        json={"inputs": [tensor], "outputs": [{"name": "logits"}]},
    )
    found["logits"] = np.array(inferred.json()["outputs"][0]["data"], np.float32).reshape(128, 10)
    for name, values in found.items():
        assert values.shape == exact[name].shape
        by_channel = np.abs(values - exact[name]).reshape(128, values.shape[1], -1).max(axis=(0, 2))
        assert by_channel.max() <= 1e-5 * np.abs(exact[name]).max(), name


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
        ("image/svg+xml", "svg"),
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
        ({"format": "svg"}, 2, 400, "an SVG shows one picture, and 2 were sent; format=json or npz holds several"),
        ({"channels": "0,8"}, 1, 400, "channels: conv1 has 0 to 7, and 8 is asked for"),
        ({"channels": "31", "layer": "conv2,relu1"}, 1, 400, "channels: relu1 has 0 to 7, and 31 is asked for"),
        ({"channels": "600", "layer": "fc1"}, 1, 400, "channels: fc1 has 0 to 599, and 600 is asked for"),
        ({"channels": ""}, 1, 400, "channels: '' is neither a number nor a range such as 5-7"),
        ({"values": "maybe", "format": "json"}, 1, 400, "values: "),
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


@pytest.mark.parametrize("scale", ["map", "layer", "all"])
def test_svg_is_the_same_sheet(client: httpx.Client, mnist: Mnist, scale: str) -> None:
    """Its size is the PNG's, each map has the PNG's colours at the PNG's place, and its words are real text."""
    query = {"layer": "all", "scale": scale}
    picture = Image.open(io.BytesIO(ask(client, mnist.images[0], **query).content))
    root = parsed(ask(client, mnist.images[0], format="svg", **query).content)
    assert picture.size == (int(root.attrib["width"]), int(root.attrib["height"]))
    sheet = np.asarray(picture)
    _, *maps = root.iter(f"{SVG}image")
    for image in maps:
        x, y, width, height = (int(image.attrib[name]) for name in ("x", "y", "width", "height"))
        colours = shown(image)
        rows, columns = colours.shape[:2]
        if columns < width:  # but for the legends, whose colours are more than their pixels
            stretched = colours.repeat(height // rows, axis=0).repeat(width // columns, axis=1)
            np.testing.assert_array_equal(sheet[y : y + height, x : x + width], stretched)
    assert len(maps) == 3 * 8 + 3 * 32 + 2 * 12 + 7
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert [word for word in words if word in LAYERS] == LAYERS
    assert "convolution with BatchNorm folded in · 8 maps of 28×28" in words
    assert (root.findtext(f"{SVG}title") or "").startswith("Feature maps of conv1, relu1,")


def test_each_map_of_an_svg_says_what_it_shows(client: httpx.Client, mnist: Mnist) -> None:
    """Layer, channel and range, in three digits."""
    values = load(ask(client, mnist.images[0], layer="conv2", format="npy"))[0]
    root = parsed(ask(client, mnist.images[0], layer="conv2", format="svg").content)
    for channel, said in enumerate(described(root)[1:]):
        low, high = (
            f"{float(bound):.3g}".replace("-", "−") for bound in (values[channel].min(), values[channel].max())
        )
        flag = ", dead" if values[channel].max() <= 0 else ""
        assert said == f"conv2, channel {channel}{flag}: {low} to {high}"


@pytest.mark.parametrize("form", TYPES)
def test_every_form_says_whose_values_it_has(client: httpx.Client, mnist: Mnist, manifest: Manifest, form: str) -> None:
    """The model, its file's SHA-256, the shape of each layer, the channels, and over what colours span."""
    query = {"layer": "fc1"} if form == "npy" else {"layer": "conv1,fc1", "scale": "map"}
    answer = ask(client, mnist.images[0], format=form, **query)
    assert answer.headers["Vary"] == "Accept"
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-digitscope")}
    assert headers == {
        "x-digitscope-model": f"digits/{manifest.version}",
        "x-digitscope-sha256": manifest.sha256,
        "x-digitscope-layers": "fc1=600" if form == "npy" else "conv1=8x28x28, fc1=600",
        "x-digitscope-channels": "all",
        "x-digitscope-scale": "map" if form in ("png", "svg") else "none",
    }


def test_channels_apply_to_every_form(client: httpx.Client, mnist: Mnist) -> None:
    """Of each layer the same ones, of a linear layer values; JSON and a header say which."""
    images = mnist.images[:2]
    with load(ask(client, *images, layer="relu1,fc1", format="npz")) as layers:
        expected = {name: layers[name][:, [0, 3, 5, 6, 7]] for name in ("relu1", "fc1")}
    query = {"layer": "relu1,fc1", "channels": "0,3,5-7"}
    answer = ask(client, *images, format="npz", **query)
    assert answer.headers["X-Digitscope-Channels"] == "0,3,5-7"
    assert answer.headers["X-Digitscope-Layers"] == "relu1=5x28x28, fc1=5"
    with load(answer) as layers:
        for name, values in expected.items():
            np.testing.assert_array_equal(layers[name], values, strict=True)
    for layer in ask(client, *images, format="json", **query).json()["layers"]:
        assert layer["channels"] == [0, 3, 5, 6, 7]
        assert layer["shape"] == list(expected[layer["name"]].shape[1:])
        np.testing.assert_array_equal(np.array(layer["values"], np.float32), expected[layer["name"]])
    single = load(ask(client, images[0], layer="fc1", format="npy", channels=["7", "0,3", "5-6"]))
    np.testing.assert_array_equal(single, expected["fc1"][:1])
    root = parsed(ask(client, images[0], layer="relu1", format="svg", channels="3,6").content)
    assert [said.partition(":")[0] for said in described(root)[1:]] == ["relu1, channel 3", "relu1, channel 6"]
    whole, some = (
        Image.open(io.BytesIO(ask(client, images[0], layer="conv2", channels=asked).content))
        for asked in ("0-31", "8-15")
    )
    assert whole.crop((16, 166, 744, 250)).tobytes() == some.crop((16, 60, 744, 144)).tobytes()


def test_statistics_are_those_of_the_values(client: httpx.Client, mnist: Mnist) -> None:
    """For every layer, picture and channel; without the values they are the same, and the answer is small."""
    with load(ask(client, *mnist.images[40:43], layer="all", format="npz")) as layers:
        expected = {name: layers[name].reshape(3, layers[name].shape[1], -1).astype(np.float64) for name in LAYERS}
    query = {"layer": "all", "format": "json"}
    whole = ask(client, *mnist.images[40:43], **query).json()["layers"]
    answer = ask(client, *mnist.images[40:43], values=False, **query)
    assert len(answer.content) < 400_000
    for described_layer, cheap in zip(whole, answer.json()["layers"], strict=True):
        values = expected[described_layer["name"]]
        facts = {name: np.array(fact) for name, fact in cheap["statistics"].items() if fact is not None}
        np.testing.assert_array_equal(facts["minimum"].astype(np.float32), values.min(axis=2))
        np.testing.assert_array_equal(facts["maximum"].astype(np.float32), values.max(axis=2))
        np.testing.assert_allclose(facts["mean"], values.mean(axis=2), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(facts["zeros"], (values == 0).mean(axis=2), rtol=1e-6)
        np.testing.assert_allclose(facts["positive"], (values > 0).mean(axis=2), rtol=1e-6)
        if cheap["name"].startswith("fc1"):
            assert cheap["statistics"]["dead"] is cheap["statistics"]["saturated"] is None
        else:
            np.testing.assert_array_equal(facts["dead"], (values <= 0).all(axis=2))
            np.testing.assert_array_equal(facts["saturated"], (values > 0).all(axis=2))
        assert described_layer.pop("values") and described_layer == cheap
