"""`POST /v1/attribution`: its forms, its choices, and what it refuses."""

import io
import re
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused

METHODS = ["occlusion", "gradcam", "saliency", "contributions"]
HEAD = ["model", "method", "prediction", "unit"]
SUMS = ["sum", "offset", "logit", "difference"]
TYPES = {"json": "application/json", "png": "image/png", "svg": "image/svg+xml", "npy": "application/x-npy"}


def ask(client: httpx.Client, image: NDArray[np.uint8], accept: str = "*/*", /, **query: Any) -> httpx.Response:
    """Sends a digit that is taken as it is."""
    parameters = {"preprocess": "none", **query}
    return client.post("/v1/attribution", params=parameters, headers={"Accept": accept}, content=encode(image))


def said(answer: httpx.Response) -> Any:
    """The JSON of an answer."""
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_has_all_that_is_promised(
    client: httpx.Client, mnist: Mnist, plain: Any, manifest: Manifest, method: str
) -> None:
    """Model, method, the network's own guess, the map and its bound, both curves, and of contributions their sum."""
    image = mnist.images[0]
    body = said(ask(client, image, method=method))
    sums = SUMS if method == "contributions" else []
    assert list(body) == [*HEAD, "digit", "map", "bound", "faithfulness", *sums]
    assert body["model"] == {"name": manifest.name, "version": manifest.version}
    assert body["method"] == method
    assert body["unit"] == ("logits per grey level" if method == "saliency" else "logits")
    _, (probabilities,) = plain.run(None, {"image": image[None, None]})
    assert body["digit"] == body["prediction"]["digit"] == probabilities.argmax() == 7
    assert body["prediction"]["confidence"] == pytest.approx(probabilities.max(), abs=1e-5)
    values = np.array(body["map"])
    assert values.shape == (28, 28) and body["bound"] == pytest.approx(np.abs(values).max())
    assert list(body["faithfulness"]) == ["deletion", "insertion"]
    for course in body["faithfulness"].values():
        assert [len(course[name]) for name in ("curve", "logits")] == [29, 29]
        assert np.trapezoid(course["curve"], dx=1 / 28) == pytest.approx(course["area"], abs=1e-6)
        assert {"random_area", "logit_area", "random_logit_area"} < set(course)
    assert body["faithfulness"]["deletion"]["curve"][0] == pytest.approx(body["prediction"]["confidence"], abs=1e-5)
    if sums:
        assert abs(body["difference"]) < 1e-5
        assert body["sum"] == pytest.approx(values.sum(), abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_all_digits_are_those_one_by_one(client: httpx.Client, mnist: Mnist, method: str) -> None:
    """digit=all gives ten items, each the answer for its digit, and the head once."""
    image = mnist.images[1]
    whole = said(ask(client, image, method=method, digit="all"))
    assert list(whole) == [*HEAD, "digits"]
    assert [item["digit"] for item in whole["digits"]] == list(range(10))
    for digit in (0, 6):
        single = said(ask(client, image, method=method, digit=digit))
        item = whole["digits"][digit]
        assert list(item) == [name for name in single if name not in HEAD]
        np.testing.assert_allclose(item["map"], single["map"], atol=1e-5 * single["bound"])
        for kind in ("deletion", "insertion"):
            one, other = item["faithfulness"][kind], single["faithfulness"][kind]
            np.testing.assert_allclose(one["logits"], other["logits"], atol=1e-4)


def test_occlusion_of_the_best_guess_is_the_default(client: httpx.Client, mnist: Mnist) -> None:
    """With nothing asked for, it is the method that was measured to be the most faithful, by a square of 3."""
    image = mnist.images[2]
    assert ask(client, image).content == ask(client, image, method="occlusion", digit=1, size=3).content


@pytest.mark.parametrize("digit", [None, "5", "all"])
@pytest.mark.parametrize("method", METHODS)
def test_npy_holds_the_map(client: httpx.Client, mnist: Mnist, method: str, digit: str | None) -> None:
    """Float32 (28, 28), or (10, 28, 28), with every bit that is in the JSON."""
    query = {"method": method} | ({"digit": digit} if digit else {})
    body = said(ask(client, mnist.images[3], **query, faithfulness=False))
    loaded = np.load(io.BytesIO(ask(client, mnist.images[3], **query, format="npy").content), allow_pickle=False)
    maps = [item["map"] for item in body["digits"]] if digit == "all" else body["map"]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, np.array(maps, np.float32))


def test_faithfulness_may_be_left_out(client: httpx.Client, mnist: Mnist) -> None:
    """For a map alone, as while somebody draws."""
    body = said(ask(client, mnist.images[3], faithfulness=False))
    assert list(body) == [*HEAD, "digit", "map", "bound"]


def warmth(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Positive where colours are orange, negative where they are blue, and near 0 where they are white."""
    return np.subtract(colours[..., 0], colours[..., 2], dtype=np.int64)


@pytest.mark.parametrize("digit", [None, "all"])
@pytest.mark.parametrize("method", METHODS)
def test_png_has_the_map_of_the_json(client: httpx.Client, mnist: Mnist, method: str, digit: str | None) -> None:
    """One map enlarged below its title, or ten side by side: orange and blue just where JSON has strong values.

    The only one has squares of 12 pixels from 16 and 100, or without its two lines from 16 and 60 on; of several they
    are 5, and the maps 147 apart.
    """
    image = mnist.images[3]
    query = {"method": method, "faithfulness": False} | ({"digit": digit} if digit else {})
    body = said(ask(client, image, **query))
    items = body["digits"] if digit else [body]
    bound = max(item["bound"] for item in items)
    picture = Image.open(io.BytesIO(ask(client, image, **query, format="png").content))
    assert picture.format == "PNG" and picture.width == 760
    colours = np.asarray(picture)
    cell = 5 if digit else 12
    strong = 0
    for index, item in enumerate(items):
        top, left = 60 + index // 5 * (28 * cell + 24), 16 + index % 5 * 147
        painted = colours[top : top + 28 * cell, left : left + 28 * cell].reshape(28, cell, 28, cell, 3)
        assert (painted == painted[:, :1, :, :1]).all(), "a value is not one square of one colour"
        warm, values = warmth(painted[:, 0, :, 0]), np.array(item["map"]) / bound
        assert (warm[values > 0.5] > 40).all() and (warm[values < -0.5] < -40).all()
        assert np.abs(warm[np.abs(values) < 0.01]).max() < 10
        strong += int((np.abs(values) > 0.5).sum())
    assert strong > 0


def test_a_measured_map_stands_below_its_figures(client: httpx.Client, mnist: Mnist) -> None:
    """Two lines of 16 pixels tell the areas, and SVG has them as text, with the titles of map and digit."""
    answer = ask(client, mnist.images[3], format="svg")
    assert answer.headers["Content-Type"] == TYPES["svg"]
    areas = said(ask(client, mnist.images[3]))["faithfulness"]
    for name in ("deletion", "insertion"):
        assert f">{name} {areas[name]['area']:.2f} (random order {areas[name]['random_area']:.2f}, " in answer.text
    assert "<title>occlusion for 0</title>" in answer.text and "<title>for 0: " in answer.text
    assert "deletion" not in ask(client, mnist.images[3], format="svg", faithfulness=False).text
    measured = Image.open(io.BytesIO(ask(client, mnist.images[3], format="png").content))
    bare = Image.open(io.BytesIO(ask(client, mnist.images[3], format="png", faithfulness=False).content))
    assert measured.height == bare.height + 40


def test_no_answer_has_a_negative_zero(client: httpx.Client, mnist: Mnist) -> None:
    """Where there is nothing there is 0, of every method."""
    for method in METHODS:
        text = ask(client, mnist.images[0], method=method, digit="all", faithfulness=False).text
        assert not re.search(r"-0\.0[,\]]", text)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", "json"),
        ("", "json"),
        ("image/png", "png"),
        ("image/svg+xml", "svg"),
        ("application/x-npy, image/png;q=0.5", "npy"),
    ],
)
def test_the_form_is_chosen(client: httpx.Client, mnist: Mnist, accept: str, chosen: str) -> None:
    """By the Accept header, unless the query says it."""
    answer = ask(client, mnist.images[0], accept, method="saliency")
    assert answer.headers["Content-Type"] == TYPES[chosen]
    for name, media_type in TYPES.items():
        answer = ask(client, mnist.images[0], accept, method="saliency", format=name)
        assert answer.headers["Content-Type"] == media_type


def test_layers_and_sizes_differ(client: httpx.Client, mnist: Mnist) -> None:
    """Each choice gives a map of its own."""
    for method, name, choices in (("gradcam", "layer", ["conv1", "relu2", "pool2"]), ("occlusion", "size", [1, 5, 14])):
        answers = [ask(client, mnist.images[4], method=method, format="npy", **{name: choice}) for choice in choices]
        assert len({answer.content for answer in answers}) == len(choices)
    default = ask(client, mnist.images[4], method="gradcam", format="npy")
    assert default.content == ask(client, mnist.images[4], method="gradcam", format="npy", layer="relu2").content


def test_a_picture_is_preprocessed(client: httpx.Client) -> None:
    """A large drawing is made what MNIST would hold, and a blank one has a map too."""
    body = said(client.post("/v1/attribution", content=encode(drawn())))
    assert body["digit"] == 7 and body["bound"] > 0
    blank = said(client.post("/v1/attribution", content=encode(Image.new("L", (60, 60), 255))))
    assert blank["bound"] == 0
    assert (
        client.post(
            "/v1/attribution?format=png", content=bytes(784), headers={"Content-Type": "application/octet-stream"}
        ).status_code
        == 200
    )


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"method": "guess"}, 400, "method: "),
        ({"digit": "10"}, 400, "digit: "),
        ({"digit": "-1"}, 400, "digit: "),
        ({"digit": "seven"}, 400, "digit: "),
        ({"format": "npz"}, 400, "format: "),
        ({"size": 0}, 400, "size: Input should be greater than or equal to 1"),
        ({"size": 15}, 400, "size: Input should be less than or equal to 14"),
        ({"size": "x"}, 400, "size: "),
        ({"faithfulness": "perhaps"}, 400, "faithfulness: "),
        ({"method": "saliency", "size": 3}, 400, "size: it is for method=occlusion, and the method is saliency"),
        ({"layer": "conv1"}, 400, "layer: it is for method=gradcam, and the method is occlusion"),
        ({"method": "gradcam", "layer": "conv3"}, 404, "no layer 'conv3'; it has conv1, relu1"),
        ({"method": "gradcam", "layer": "fc1"}, 404, "layer fc1 has no maps, which gradcam takes; it is to be one of"),
        ({"method": "gradcam", "layer": "all"}, 404, "no layer 'all'; it has conv1, relu1"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    client: httpx.Client, mnist: Mnist, query: dict[str, Any], status: int, sentence: str
) -> None:
    """Each wrong request gets its status and a sentence."""
    assert sentence in refused(ask(client, mnist.images[0], **query), status)


def test_bodies_that_are_no_picture_are_refused(client: httpx.Client, mnist: Mnist) -> None:
    """None, several, and no picture at all."""
    assert "no body" in refused(client.post("/v1/attribution"), 400)
    refused(client.post("/v1/attribution", content=b"hello"), 415)
    files = [("files", ("digit.png", encode(image))) for image in mnist.images[:2]]
    assert refused(client.post("/v1/attribution", files=files), 400) == (
        "one picture is taken at a time, and 2 were sent"
    )
