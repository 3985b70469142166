"""`POST /v1/trace`: every term of a value, checked by SciPy, and by the network before it was folded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import correlate2d
from torch import Tensor

from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from tests.service.shapes import SHAPES
from tests.service.unfolded import unfolded_network
from training.model import DigitNet

Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
SOURCES = dict(zip(SHAPES, ["normalised", *SHAPES], strict=False))
AXES = ("channel", "y", "x")
PLACES = st.sampled_from(list(SHAPES)).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*(st.integers(0, size - 1) for size in SHAPES[name])))
)


@pytest.fixture(scope="module")
def unfolded(model_folder: Path) -> DigitNet:
    """The network as it was trained, BatchNorm and all, in float64; its temperature in the last layer."""
    return unfolded_network(model_folder)


def ask(client: httpx.Client, image: NDArray[np.uint8], layer: str, place: tuple[int, ...], **query: Any) -> Any:
    """The trace of one value of a digit that is taken as it is."""
    where = dict(zip(AXES, place, strict=False))
    answer = client.post(
        "/v1/trace", params={"preprocess": "none", "layer": layer, **where, **query}, content=encode(image)
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_trace_is_written_out(client: httpx.Client, mnist: Mnist) -> None:
    """Model, place, value, sum, and one term a kernel cell: 8 maps of 5×5 for a value of conv2."""
    body = ask(client, mnist.images[0], "conv2", (5, 7, 3))
    assert list(body) == [
        *("model", "layer", "operator", "channel", "y", "x", "value", "exact", "difference", "source"),
        *("normalisation", "bias", "terms", "rest", "pixels"),
    ]
    assert (body["layer"], body["operator"], body["source"]) == ("conv2", "Conv", "pool1")
    assert (body["channel"], body["y"], body["x"]) == (5, 7, 3)
    assert body["normalisation"] is None and body["pixels"] is None
    places = [(term["channel"], term["y"], term["x"]) for term in body["terms"]]
    assert places == [(channel, y, x) for channel in range(8) for y in range(5, 10) for x in range(1, 6)]
    assert list(body["terms"][0]) == ["channel", "y", "x", "weight", "input", "product", "padding", "running"]
    assert not any(term["padding"] for term in body["terms"])
    assert body["rest"] == {"terms": 0, "sum": 0}


@settings(deadline=None, max_examples=150)
@given(PLACES, st.integers(0, 9_999))
def test_the_terms_make_the_value(
    client: httpx.Client,
    mnist: Mnist,
    reference: Reference,
    unfolded: DigitNet,
    named: tuple[str, tuple[int, ...]],
    number: int,
) -> None:
    """Of any value of any layer: inputs are those of ONNX's reference, and the sum is its value and the unfolded one's.

    The inputs are checked at their places, the products and running sums as products and sums; all within 1e-5 of the
    layer's scale.
    """
    layer, place = named
    image = mnist.images[number]
    body = ask(client, image, layer, place, terms=2000)
    values = reference(image[None, None])
    activations = unfolded.activations(torch.tensor(image[None, None]).double())
    scale = float(np.abs(values[layer]).max())
    source = values[SOURCES[layer]][0]
    running = body["bias"]
    for term in body["terms"]:
        where = tuple(term[axis] for axis in AXES if term[axis] is not None)
        assert term["padding"] == any(not 0 <= part < size for part, size in zip(where, source.shape, strict=True))
        expected = 0.0 if term["padding"] else source[where]
        assert abs(term["input"] - expected) <= 1e-5 * max(1, np.abs(source).max())
        assert term["product"] == float(np.float32(term["weight"])) * float(np.float32(term["input"]))
        running += term["product"]
        assert term["running"] == pytest.approx(running, abs=1e-9)
    assert body["exact"] == pytest.approx(running, abs=1e-9) and body["rest"]["terms"] == 0
    assert abs(body["value"] - values[layer][0][place]) <= 1e-5 * scale
    assert abs(body["exact"] - float(activations[layer][0][place])) <= 1e-5 * scale
    assert abs(body["difference"]) <= 1e-5 * scale
    assert body["difference"] == pytest.approx(float(np.float32(body["value"])) - body["exact"], abs=1e-12)


@pytest.mark.parametrize(("layer", "source", "half"), [("conv1", "normalised", 1), ("conv2", "pool1", 2)])
def test_a_convolution_is_that_of_scipy(
    client: httpx.Client, mnist: Mnist, reference: Reference, layer: str, source: str, half: int
) -> None:
    """With the weights as they stand in the terms, SciPy's correlation of the zero-padded input has the same value.

    At the corners, the edges and inside; beyond the border are as many cells as geometry says.
    """
    image = mnist.images[3]
    inputs = reference(image[None, None])[source][0].astype(np.float64)
    last = SHAPES[layer][1] - 1
    for y, x in ((0, 0), (0, last), (last, 5), (6, 0), (9, 8)):
        body = ask(client, image, layer, (2, y, x))
        weights = np.array([term["weight"] for term in body["terms"]]).reshape(len(inputs), 2 * half + 1, -1)
        sums = [correlate2d(map_, kernel, mode="same") for map_, kernel in zip(inputs, weights, strict=True)]
        assert body["exact"] == pytest.approx(sum(sums)[y, x] + body["bias"], abs=1e-4)
        inside = [max(0, min(place + half, last) - max(place - half, 0) + 1) for place in (y, x)]
        beyond = sum(term["padding"] for term in body["terms"])
        assert beyond == len(inputs) * ((2 * half + 1) ** 2 - inside[0] * inside[1])


def test_a_maximum_takes_one_input(client: httpx.Client, mnist: Mnist, reference: Reference) -> None:
    """Of the four in its window the largest one has the weight 1, at the place where NumPy finds it."""
    window = reference(mnist.images[:1, None])["relu1"][0, 3, 12:14, 14:16]
    body = ask(client, mnist.images[0], "pool1", (3, 6, 7))
    weights = np.array([term["weight"] for term in body["terms"]]).reshape(2, 2)
    assert weights.sum() == 1 and weights.argmax() == window.argmax()
    assert body["value"] == pytest.approx(window.max(), abs=1e-5) and body["bias"] == 0


def test_a_relu_passes_or_does_not(client: httpx.Client, mnist: Mnist, reference: Reference) -> None:
    """A positive input has the weight 1 and a negative one 0, in the layer with places and in the one without."""
    values = reference(mnist.images[:1, None])
    for layer, source in (("relu2", "conv2"), ("fc1_relu", "fc1")):
        for place in (np.argwhere(values[source][0] > 0.5)[0], np.argwhere(values[source][0] < -0.5)[0]):
            body = ask(client, mnist.images[0], layer, tuple(int(part) for part in place))
            (term,) = body["terms"]
            assert term["weight"] == (1 if term["input"] > 0 else 0)
            assert body["value"] == max(0, term["input"])


def test_the_largest_terms_come_first(client: httpx.Client, mnist: Mnist) -> None:
    """Of a linear layer there are the 24 largest and the sum of the rest; `terms` asks for others, of any layer."""
    whole = ask(client, mnist.images[1], "fc1", (17,), terms=1568)
    products = [abs(term["product"]) for term in whole["terms"]]
    assert len(products) == 1568 and products == sorted(products, reverse=True)
    short = ask(client, mnist.images[1], "fc1", (17,))
    assert short["terms"] == whole["terms"][:24] and short["rest"]["terms"] == 1544
    assert short["terms"][-1]["running"] + short["rest"]["sum"] == pytest.approx(whole["exact"], abs=1e-9)
    assert short["exact"] == whole["exact"]
    few = ask(client, mnist.images[1], "conv2", (0, 6, 6), terms=3)
    assert len(few["terms"]) == 3 and few["rest"]["terms"] == 197


@settings(deadline=None, max_examples=60)
@given(PLACES, st.integers(0, 9_999))
def test_the_pixels_behind_are_those_of_autograd(
    client: httpx.Client, mnist: Mnist, unfolded: DigitNet, named: tuple[str, tuple[int, ...]], number: int
) -> None:
    """Followed back, a value's weights are its derivative by each pixel, and offset and products add up to it.

    The derivative is torch's, of the network before it was folded, in float64. Both are undefined on an edge between
    two pieces, where a maximum has two inputs that are equal but for rounding: such a place is not compared.
    """
    layer, place = named
    image = mnist.images[number]
    pixels = torch.tensor(image[None, None]).double().requires_grad_()
    activations: dict[str, Tensor] = unfolded.activations(pixels)
    (gradient,) = torch.autograd.grad(activations[layer][0][place], pixels)
    expected = gradient[0, 0].numpy()
    behind = ask(client, image, layer, place, follow=True)["pixels"]
    weights = np.array(behind["weights"])
    largest = np.abs(expected).max()
    if np.abs(weights - expected).max() > 1e-5 * largest:
        assert on_an_edge(unfolded, image), "the weights are not the derivative"
        return
    values = activations[layer][0].detach()
    scale = float(values.abs().max())
    np.testing.assert_allclose(behind["products"], weights * image, atol=1e-12)
    assert behind["exact"] == pytest.approx(behind["offset"] + np.sum(behind["products"]), abs=1e-9)
    assert abs(behind["exact"] - float(values[place])) <= 1e-5 * scale
    assert abs(behind["difference"]) <= 1e-5 * scale


def on_an_edge(network: DigitNet, image: NDArray[np.uint8]) -> bool:
    """Whether somewhere in the network a ReLU or a maximum is decided by less than float32 tells apart."""
    activations = network.activations(torch.tensor(image[None, None]).double())
    for name in ("conv1", "conv2", "fc1"):
        if float(activations[name].abs().min()) < 1e-6:
            return True
    for name in ("relu1", "relu2"):
        windows = activations[name][0].unfold(1, 2, 2).unfold(2, 2, 2).reshape(-1, 4).sort(dim=1).values
        taken = windows[windows[:, 3] > 0]
        if float((taken[:, 3] - taken[:, 2]).min()) < 1e-6:
            return True
    return False


def test_a_value_without_pixels_behind_it(client: httpx.Client, mnist: Mnist) -> None:
    """Behind a ReLU that does not pass there is nothing, and behind a corner of conv1 there are its four pixels."""
    closed = ask(client, mnist.images[0], "conv1", (2, 0, 0), follow=True)["pixels"]
    assert np.count_nonzero(closed["weights"]) == 4
    blank = np.zeros((28, 28), np.uint8)
    values = [ask(client, blank, "relu1", (channel, 5, 5), follow=True) for channel in range(8)]
    for body in values:
        assert bool(np.any(body["pixels"]["weights"])) == (body["value"] > 0)


def test_a_picture_is_preprocessed(client: httpx.Client) -> None:
    """A large drawing is made what MNIST would hold, and its pixels are named with what makes inputs of them."""
    answer = client.post("/v1/trace?layer=conv1&channel=0&y=14&x=14", content=encode(drawn())).json()
    mean, std = answer["normalisation"]["mean"], answer["normalisation"]["std"]
    pixels = [term["input"] * std + mean for term in answer["terms"]]
    assert all(abs(pixel - round(pixel)) < 1e-4 and -0.5 < pixel < 255.5 for pixel in pixels)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"layer": "conv3", "channel": 0}, 404, "no layer 'conv3'; it has conv1, relu1, pool1"),
        ({"channel": 0}, 400, "layer: "),
        ({"layer": "conv1", "y": 0, "x": 0}, 400, "channel: "),
        ({"layer": "conv1", "channel": 8, "y": 0, "x": 0}, 400, "channel: conv1 has 0 to 7"),
        ({"layer": "conv1", "channel": -1, "y": 0, "x": 0}, 400, "channel: conv1 has 0 to 7"),
        ({"layer": "pool2", "channel": 0, "y": 7, "x": 0}, 400, "y: pool2 has 0 to 6"),
        ({"layer": "pool2", "channel": 0, "y": 6}, 400, "x: pool2 has 0 to 6"),
        ({"layer": "logits", "channel": 10}, 400, "channel: logits has 0 to 9"),
        ({"layer": "fc1", "channel": 1, "x": 0}, 400, "x: fc1 has 600 values and no rows or columns"),
        ({"layer": "fc1", "channel": "1e3"}, 400, "channel: "),
        ({"layer": "fc1", "channel": 1, "terms": 0}, 400, "terms: "),
    ],
)
def test_what_is_not_there_is_refused(
    client: httpx.Client, mnist: Mnist, query: dict[str, Any], status: int, said: str
) -> None:
    """Each wrong place gets its status, and a sentence that says what there is."""
    assert said in refused(client.post("/v1/trace", params=query, content=encode(mnist.images[0])), status)


def test_one_picture_is_traced_at_a_time(client: httpx.Client, mnist: Mnist) -> None:
    """Two digits are refused, and so is none."""
    query: dict[str, Any] = {"layer": "fc1", "channel": 0}
    headers = {"Content-Type": "application/octet-stream"}
    answer = client.post("/v1/trace", params=query, content=mnist.images[:2].tobytes(), headers=headers)
    assert refused(answer, 400) == "one picture is taken at a time, and 2 were sent"
    assert "no body" in refused(client.post("/v1/trace", params=query), 400)


def test_every_layer_is_traced_here(manifest: Manifest) -> None:
    """Those of the manifest, and no other ones, are known here."""
    assert {layer.name: layer.shape for layer in manifest.layers} == SHAPES
