"""Attribution: each method against an independent computation, and on networks whose answer comes from one region."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from service.errors import UnknownError
from service.inside.attribution import Attribution, Method, attribute, choose_maps
from service.inside.probe import Probe
from service.layer import Layer
from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.networks import convolution, linear, pooling, relu, serve, weight_shapes
from training.checkpoint import Checkpoint

METHODS: tuple[Method, ...] = ("saliency", "contributions", "gradcam", "occlusion")
Map = NDArray[np.float64]


def ask(probe: Probe, image: NDArray[np.uint8], method: Method, *digits: int, **choices: Any) -> list[Attribution]:
    """The maps of one image (28, 28), Grad-CAM's of a layer by its name."""
    maps = choose_maps(probe.manifest, choices.pop("layer", None))
    return attribute(probe, image[None, None], method, digits, maps=maps, **choices)


def logits_of(checkpoint: Checkpoint, images: NDArray[np.uint8]) -> Map:
    """PyTorch's logits of images (n, 28, 28)."""
    with torch.no_grad():
        logits: Map = (checkpoint.network(torch.from_numpy(images[:, None] / 1.0)) / checkpoint.temperature).numpy()
    return logits


def close(found: NDArray[np.float32], expected: Map) -> None:
    """Float32 values that differ by no more than 1e-5 of the largest."""
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("digit", range(10))
def test_saliency_is_autograd_s(probe: Probe, checkpoint: Checkpoint, mnist: Mnist, digit: int) -> None:
    """The derivative of each digit's logit by each grey level, with its sign."""
    image = mnist.images[40 + digit]
    pixels = torch.from_numpy(image[None, None] / 1.0).requires_grad_()
    logit = checkpoint.network(pixels)[0, digit] / checkpoint.temperature
    (gradient,) = torch.autograd.grad(logit, pixels)
    (found,) = ask(probe, image, "saliency", digit)
    close(found.map, gradient[0, 0].numpy())
    (contributions,) = ask(probe, image, "contributions", digit)
    close(contributions.map, gradient[0, 0].numpy() * image)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9_999), st.integers(0, 9))
def test_contributions_add_up_to_the_logit(probe: Probe, plain: Any, mnist: Mnist, number: int, digit: int) -> None:
    """Of any real digit and class: sum and offset, which are found apart, differ little from ONNX Runtime's logit."""
    image = mnist.images[number]
    (found,) = ask(probe, image, "contributions", digit)
    completeness = found.completeness
    assert completeness is not None
    logit = plain.run(["logits"], {"image": image[None, None]})[0][0, digit]
    assert completeness.logit == pytest.approx(logit, abs=1e-5)
    assert completeness.sum == pytest.approx(found.map.sum(dtype=np.float64), abs=1e-5)
    assert completeness.difference == completeness.logit - (completeness.sum + completeness.offset)
    assert abs(completeness.difference) < 2e-5


def test_only_contributions_add_up(probe: Probe, mnist: Mnist) -> None:
    """The other methods promise no sum."""
    for method in METHODS:
        (found,) = ask(probe, mnist.images[0], method, 7)
        assert (found.completeness is not None) == (method == "contributions")
        assert found.bound == np.abs(found.map).max()


@pytest.mark.parametrize("layer", ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2"])
def test_gradcam_is_pytorch_s(probe: Probe, checkpoint: Checkpoint, mnist: Mnist, layer: str) -> None:
    """Weights by autograd, their sum over the maps, and PyTorch's own bilinear interpolation; the sign stays."""
    image = mnist.images[61]
    values = checkpoint.network.activations(torch.from_numpy(image[None, None] / 1.0).requires_grad_())
    for digit in (0, 8):
        (gradient,) = torch.autograd.grad(
            values["logits"][0, digit] / checkpoint.temperature, values[layer], retain_graph=True
        )
        map_ = (gradient.mean(dim=(2, 3), keepdim=True) * values[layer]).sum(dim=1, keepdim=True)
        expected = functional.interpolate(map_, (28, 28), mode="bilinear", align_corners=False)[0, 0].detach().numpy()
        (found,) = ask(probe, image, "gradcam", digit, layer=layer)
        close(found.map, expected)


@pytest.mark.parametrize("size", [1, 3, 4, 14])
def test_occlusion_is_the_mean_fall_under_squares(
    probe: Probe, checkpoint: Checkpoint, mnist: Mnist, size: int
) -> None:
    """Every square is tried on PyTorch's network, also those beyond the border, and adds its fall to what it covers."""
    image = mnist.images[18]
    places = [(top, left) for top in range(1 - size, 28) for left in range(1 - size, 28)]
    covered = np.zeros((len(places), 28, 28), bool)
    for square, (top, left) in zip(covered, places, strict=True):
        for y in range(max(top, 0), min(top + size, 28)):
            for x in range(max(left, 0), min(left + size, 28)):
                square[y, x] = True
    assert (covered.sum(axis=0) == size**2).all()
    falls = logits_of(checkpoint, image[None]) - logits_of(checkpoint, np.where(covered, 0, image).astype(np.uint8))
    for digit, found in zip((3, 5), ask(probe, image, "occlusion", 3, 5, size=size), strict=True):
        expected = (falls[:, digit, None, None] * covered).sum(axis=0) / size**2
        np.testing.assert_allclose(found.map, expected, atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_all_digits_at_once_are_each_alone(probe: Probe, mnist: Mnist, method: Method) -> None:
    """The batch of ten is only a saving."""
    image = mnist.images[9]
    together = ask(probe, image, method, *range(10))
    assert [each.digit for each in together] == list(range(10))
    for digit in (0, 9):
        (alone,) = ask(probe, image, method, digit)
        np.testing.assert_allclose(alone.map, together[digit].map, atol=1e-5 * alone.bound)


@pytest.mark.parametrize("method", METHODS)
def test_a_blank_image_has_a_map(probe: Probe, method: Method) -> None:
    """Where there is no ink, none can be covered, and none contributes."""
    (found,) = ask(probe, np.zeros((28, 28), np.uint8), method, 4)
    assert found.map.shape == (28, 28) and np.isfinite(found.map).all()
    assert not np.signbit(found.map[found.map == 0]).any(), "−0"
    assert (found.bound == 0) == (method in {"contributions", "occlusion"})


def network() -> list[Layer]:
    """Two convolutions with pooling and a linear layer, all small."""
    layers = [convolution("conv1", None, 1, 3, padding=1)]
    layers.append(relu("relu1", layers[-1]))
    layers.append(pooling("pool1", layers[-1], 2, 2))
    layers.append(convolution("conv2", layers[-1], 1, 1))
    layers.append(relu("relu2", layers[-1]))
    layers.append(linear("logits", 10))
    return layers


def outside(values: NDArray[np.float32], top: int, left: int, side: int, margin: int) -> float:
    """How much of a map's magnitude lies outside a square and a margin around it, from 0 to 1."""
    rest = np.abs(values)
    whole = float(rest.sum())
    rest[max(top - margin, 0) : top + side + margin, max(left - margin, 0) : left + side + margin] = 0
    return float(rest.sum()) / whole


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 9_999), st.integers(3, 7), st.integers(3, 7))
def test_an_answer_from_one_place_is_attributed_to_it(mnist: Mnist, number: int, top: int, left: int) -> None:
    """A network whose last layer looks at 8×8 pixels of the whole digit, at any place: there the three methods are.

    Its convolution and pooling take in one pixel more on each side, and a square of 3 reaches two further. Grad-CAM
    weights whole maps, and no place of theirs, so that it cannot know which place was looked at.
    """
    layers = network()
    shapes = weight_shapes(layers)
    weights = {
        "conv1.weight": np.full(shapes["conv1"], 1 / 9, np.float32),
        "conv2.weight": np.ones(shapes["conv2"], np.float32),
        "logits.weight": np.zeros((10, 14, 14), np.float32),
    }
    weights["logits.weight"][6, top : top + 4, left : left + 4] = 1
    weights["logits.weight"] = weights["logits.weight"].reshape(10, -1)
    probe = Probe(serve(layers, weights))
    image = mnist.images[number]
    if not image[2 * top : 2 * top + 8, 2 * left : 2 * left + 8].any():
        return
    margins: dict[Method, int] = {"saliency": 1, "contributions": 1, "occlusion": 3}
    for method, margin in margins.items():
        (found,) = ask(probe, image, method, 6)
        assert found.bound > 0
        assert outside(found.map, 2 * top, 2 * left, 8, margin) < 1e-6, method
    (contributions,) = ask(probe, image, "contributions", 6)
    (gradcam,) = ask(probe, image, "gradcam", 6)
    assert gradcam.map[image > 0].min() > 0, "it is wherever there is ink"
    assert (contributions.map >= 0).all()


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 20), st.integers(2, 20))
def test_an_answer_from_one_shape_is_attributed_to_it(top: int, left: int) -> None:
    """A network that answers only to a filled square, in a picture that is full of thin lines: there all four are."""
    layers = network()
    shapes = weight_shapes(layers)
    weights = {
        "conv1.weight": np.ones(shapes["conv1"], np.float32),
        "conv1.bias": np.array([-8], np.float32),  # of the 9 pixels, all have to be bright
        "conv2.weight": np.ones(shapes["conv2"], np.float32),
        "logits.weight": np.zeros(shapes["logits"], np.float32),
    }
    weights["logits.weight"][2] = 1
    probe = Probe(serve(layers, weights))
    image = np.zeros((28, 28), np.uint8)
    image[::3] = 255
    image[:, ::5] = 255
    image[top - 1 : top + 7, left - 1 : left + 7] = 0
    image[top : top + 6, left : left + 6] = 255
    for method in METHODS:
        (found,) = ask(probe, image, method, 2)
        margin = {"occlusion": 2, "gradcam": 2}.get(method, 0)
        assert found.bound > 0 and found.map.max() == found.bound
        assert outside(found.map, top, left, 6, margin) < 1e-6, method
        (other,) = ask(probe, image, method, 3)
        assert other.bound == 0, "no other answer rests on anything"


def test_the_layer_of_gradcam_has_maps(manifest: Manifest) -> None:
    """By default the last convolution's, after its ReLU; a linear layer has none, and the refusal says so."""
    assert choose_maps(manifest, None).name == "relu2"
    assert choose_maps(manifest, "pool1").name == "pool1"
    for name in ("fc1", "logits"):
        with pytest.raises(
            UnknownError, match=f"^layer {name} has no maps, which gradcam takes; .* of conv1, .* pool2$"
        ):
            choose_maps(manifest, name)
    with pytest.raises(UnknownError, match="the model has no layer 'conv3'"):
        choose_maps(manifest, "conv3")


def test_a_network_without_convolutions_is_attributed_too(mnist: Mnist) -> None:
    """Where all is linear, saliency is the weights and contributions are the whole logit; there is no Grad-CAM."""
    rows = np.random.default_rng(1).normal(size=(10, 784)).astype(np.float32)
    probe = Probe(serve([linear("logits", 10)], {"logits.weight": rows}))
    image = mnist.images[6]
    for method, expected in (("saliency", rows[4] / 255), ("contributions", rows[4] / 255 * image.reshape(-1))):
        (found,) = attribute(probe, image[None, None], cast("Method", method), [4])
        np.testing.assert_allclose(found.map, expected.reshape(28, 28), rtol=1e-5)
    assert found.completeness is not None and found.completeness.offset == 0
    with pytest.raises(UnknownError, match=r"^gradcam takes a layer of maps, and the model has none$"):
        attribute(probe, image[None, None], "gradcam", [4])
