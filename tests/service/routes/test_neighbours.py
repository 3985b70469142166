"""`POST /v1/neighbours` and `GET /v1/model/layers/{layer}/exemplars`: training digits that the network finds alike."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.serving import MODELS, VERSION, serving

EXEMPLARS = "/v1/model/layers/{}/exemplars"
SEVEN = encode(drawn())


def pixels(url: str) -> NDArray[np.uint8]:
    """What Pillow reads from a PNG data URL."""
    head, _, content = url.partition(",")
    assert head == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (picture.format, picture.mode) == ("PNG", "L")
    return np.asarray(picture)


def test_the_nearest_digits_are_shown(client: httpx.Client, training_set: Mnist) -> None:
    """Ten of them, nearest first, each the one of MNIST's own files at its index; a drawn seven is among sevens."""
    answer = client.post("/v1/neighbours", content=SEVEN)
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert list(body) == ["model", "layer", "metric", "digit", "agreement", "neighbours"]
    assert body["model"] == {"name": "digits", "version": VERSION}
    assert (body["layer"], body["metric"], body["digit"], body["agreement"]) == ("fc1_relu", "cosine", 7, 1)
    assert len(body["neighbours"]) == 10
    distances = [neighbour["distance"] for neighbour in body["neighbours"]]
    assert distances == sorted(distances) and 0 < distances[0] < distances[-1] < 1
    for neighbour in body["neighbours"]:
        assert list(neighbour) == ["label", "index", "distance", "image"]
        assert neighbour["label"] == training_set.labels[neighbour["index"]]
        np.testing.assert_array_equal(pixels(neighbour["image"]), training_set.images[neighbour["index"]])


def test_agreement_is_the_share_of_the_digit_that_is_read(client: httpx.Client, mnist: Mnist) -> None:
    """Of the test digits whose neighbours disagree most, counted from the labels in the answer."""
    shares = []
    for place in (115, 247, 321, 340, 445, 582, 659, 947):
        picture = encode(mnist.images[place])
        body = client.post("/v1/neighbours?preprocess=none&count=50", content=picture).json()
        labels = [neighbour["label"] for neighbour in body["neighbours"]]
        predicted = client.post("/v1/predict?preprocess=none", content=picture).json()["predictions"][0]["digit"]
        assert body["digit"] == predicted
        assert body["agreement"] == labels.count(predicted) / 50
        shares.append(body["agreement"])
    assert min(shares) < 1


@pytest.mark.parametrize("count", [1, 50])
def test_a_prototype_finds_itself(client: httpx.Client, count: int) -> None:
    """Sent as it was shown, a neighbour is its own nearest one, at distance 0."""
    first = client.post("/v1/neighbours?count=1", content=SEVEN).json()["neighbours"][0]
    picture = base64.b64decode(first["image"].partition(",")[2])
    answer = client.post("/v1/neighbours", params={"preprocess": "none", "count": count}, content=picture).json()
    assert len(answer["neighbours"]) == count
    assert answer["neighbours"][0] | {"distance": 0} == first | {"distance": 0}
    assert answer["neighbours"][0]["distance"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("layer", ["conv1", "relu2", "pool2"])
def test_exemplars_are_shown_with_their_place(client: httpx.Client, training_set: Mnist, layer: str) -> None:
    """Nine, the most excited first, each the one of MNIST's own files; the value stands at its place in the map."""
    body = client.get(EXEMPLARS.format(layer), params={"channel": 5}).json()
    assert list(body) == ["model", "layer", "channel", "exemplars"]
    assert (body["model"]["version"], body["layer"], body["channel"]) == (VERSION, layer, 5)
    assert len(body["exemplars"]) == 9
    activations = [exemplar["activation"] for exemplar in body["exemplars"]]
    np.testing.assert_allclose(activations, sorted(activations, reverse=True), atol=1e-5)
    for exemplar in body["exemplars"]:
        assert list(exemplar) == ["label", "index", "activation", "at", "box", "image"]
        assert exemplar["label"] == training_set.labels[exemplar["index"]]
        image = training_set.images[exemplar["index"]]
        np.testing.assert_array_equal(pixels(exemplar["image"]), image)
        query = {"layer": layer, "format": "npy", "preprocess": "none"}
        shown = np.load(io.BytesIO(client.post("/v1/features", params=query, content=encode(image)).content))
        assert shown[0, 5, *exemplar["at"]] == shown[0, 5].max() == pytest.approx(exemplar["activation"], abs=1e-5)


def test_a_unit_has_exemplars_without_a_place(client: httpx.Client) -> None:
    """A linear layer's values are of the whole image."""
    body = client.get(EXEMPLARS.format("fc1_relu"), params={"channel": 599, "count": 3}).json()
    assert [(exemplar["at"], exemplar["box"]) for exemplar in body["exemplars"]] == [(None, None)] * 3


def test_a_box_is_the_receptive_field(client: httpx.Client) -> None:
    """Its size is that of /v1/model/layers, its middle start + place · jump, and the padding is within it."""
    for layer in client.get("/v1/model/layers").json()["layers"][:6]:
        field = layer["receptive_field"]
        for exemplar in client.get(EXEMPLARS.format(layer["name"])).json()["exemplars"]:
            (y, x), (left, top, width, height) = exemplar["at"], exemplar["box"]
            assert (width, height) == (field["size"], field["size"])
            middles = (left + (width - 1) / 2, top + (height - 1) / 2)
            assert middles == (field["start"] + x * field["jump"], field["start"] + y * field["jump"])


def test_what_is_known_is_not_sent_again(client: httpx.Client) -> None:
    """With the ETag of an answer, the same request gets a 304 without a body; another one gets its own answer."""
    path, query = EXEMPLARS.format("conv2"), {"channel": 3}
    answer = client.get(path, params=query)
    tag = answer.headers["ETag"]
    assert answer.headers["Cache-Control"] == "no-cache"
    assert client.get(path, params=query).content == answer.content
    again = client.get(path, params=query, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    for other in ({"channel": 4}, {"channel": 3, "count": 8}):
        assert client.get(path, params=other, headers={"If-None-Match": tag}).status_code == 200
    assert client.get(EXEMPLARS.format("relu2"), params=query, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"count": 0}, "count: "),
        ({"count": 51}, "count: "),
        ({"count": "many"}, "count: "),
        ({"preprocess": "all"}, "preprocess: "),
        ({"preprocess": "none"}, "takes 28×28"),
    ],
)
def test_what_cannot_be_searched_is_refused(client: httpx.Client, query: dict[str, Any], said: str) -> None:
    """One sentence names the parameter, or the picture's fault."""
    assert said in refused(client.post("/v1/neighbours", params=query, content=SEVEN), 400)


def test_one_picture_is_searched_at_a_time(client: httpx.Client, mnist: Mnist) -> None:
    """None and several are refused, and bytes that are no picture."""
    assert "no body" in refused(client.post("/v1/neighbours"), 400)
    prepared = {"Content-Type": "application/octet-stream"}
    answer = client.post("/v1/neighbours", content=mnist.images[:2].tobytes(), headers=prepared)
    assert "one picture is taken at a time, and 2 were sent" in refused(answer, 400)
    assert "no picture" in refused(client.post("/v1/neighbours", content=b"nonsense" * 9), 415)
    answer = client.post("/v1/neighbours", content=mnist.images[0].tobytes(), headers=prepared)
    assert answer.json()["digit"] == 7


@pytest.mark.parametrize(
    ("layer", "query", "status", "said"),
    [
        ("conv3", {}, 404, "the model has no layer 'conv3'; it has conv1, relu1"),
        ("logits", {}, 404, "layer logits is the answer itself and has no exemplars; it is to be one of conv1"),
        ("all", {}, 404, "the model has no layer 'all'"),
        ("conv1", {"channel": 8}, 400, "channel: conv1 has 0 to 7"),
        ("fc1", {"channel": 600}, 400, "channel: fc1 has 0 to 599"),
        ("conv1", {"channel": -1}, 400, "channel: "),
        ("conv1", {"channel": "first"}, 400, "channel: "),
        ("conv1", {"count": 0}, 400, "count: "),
        ("conv1", {"count": 10}, 400, "count: "),
    ],
)
def test_what_has_no_exemplars_is_refused(
    client: httpx.Client, layer: str, query: dict[str, Any], status: int, said: str
) -> None:
    """One sentence names the layer or the parameter, and what there is."""
    assert said in refused(client.get(EXEMPLARS.format(layer), params=query), status)


def test_a_version_without_an_index_says_so() -> None:
    """The first version predicts, and has neither neighbours nor exemplars: a 404 with a sentence."""
    with serving(create_app(Settings(models=MODELS, model_version="1", provider="cpu"))) as client:
        assert client.post("/v1/predict", content=SEVEN).json()["predictions"][0]["digit"] == 7
        for answer in (client.post("/v1/neighbours", content=SEVEN), client.get(EXEMPLARS.format("conv1"))):
            assert refused(answer, 404) == "version 1 of digits has no index of training digits"
        assert "index" not in client.get("/v1/model").json()["manifest"]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Path, httpx.Client]]:
    """The index of a copy of the newest version, and a client of the service that serves that copy."""
    shutil.copytree(MODELS / "digits" / VERSION, tmp_path / "digits" / VERSION)
    with serving(create_app(Settings(models=tmp_path, provider="cpu"))) as client:
        yield tmp_path / "digits" / VERSION / "index.npz", client


def test_a_broken_index_leaves_predictions_alone(own: tuple[Path, httpx.Client]) -> None:
    """The service predicts, is ready and says what is wrong; when the file is as promised again, it is read."""
    path, client = own
    content = path.read_bytes()
    for broken, said in (
        (content[:-1] + b"\xff", r"index.npz has SHA-256 "),
        (content[: len(content) // 2], r"index.npz has SHA-256 "),
        (None, "index.npz cannot be read: No such file or directory"),
    ):
        path.unlink()
        if broken is not None:
            path.write_bytes(broken)
        for answer in (client.post("/v1/neighbours", content=SEVEN), client.get(EXEMPLARS.format("conv1"))):
            sentence = refused(answer, 503)
            assert sentence.startswith(said) and str(path.parent) not in sentence
        assert client.post("/v1/predict", content=SEVEN).json()["predictions"][0]["digit"] == 7
        assert client.get("/v2/health/ready").status_code == 200
        path.touch()
    path.write_bytes(content)
    assert client.post("/v1/neighbours", content=SEVEN).json()["digit"] == 7


def test_the_index_is_read_when_it_is_first_asked_for(own: tuple[Path, httpx.Client]) -> None:
    """Once, and not before: it may be away until then, and again from then on."""
    path, client = own
    kept = path.rename(path.with_name("kept"))
    assert client.post("/v1/predict", content=SEVEN).status_code == 200
    assert client.post("/v1/features", content=SEVEN).status_code == 200
    kept.rename(path)
    first = client.post("/v1/neighbours", content=SEVEN)
    path.unlink()
    assert client.post("/v1/neighbours", content=SEVEN).content == first.content
    assert client.get(EXEMPLARS.format("conv1")).status_code == 200


def test_neighbours_are_of_the_float32_file(client: httpx.Client) -> None:
    """Where int8 predicts, they are the same, digit for digit."""
    with serving(create_app(Settings(models=MODELS, provider="cpu", precision="int8"))) as quantised:
        found = [one.post("/v1/neighbours", content=SEVEN).content for one in (client, quantised)]
    assert found[0] == found[1]
