"""The probe: its derivatives are those of PyTorch's autograd, and its masks those of PyTorch's hooks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from service.inside.probe import Probe
from service.layer import Layer
from tests.conftest import Mnist
from tests.service.networks import convolution, linear, pooling, relu, serve, weight_shapes
from training.checkpoint import Checkpoint
from training.model import ARCHITECTURE

LAYERS = [layer.name for layer in ARCHITECTURE]


def by_autograd(
    checkpoint: Checkpoint, images: NDArray[np.uint8], layer: str, seed: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """The derivatives of Σ seed · layer by the image and every layer before it, in float64 and without folding."""
    pixels = torch.from_numpy(images.astype(np.float64)).requires_grad_()
    values = checkpoint.network.activations(pixels)
    values["logits"] = values["logits"] / checkpoint.temperature
    before = {"image": pixels} | {name: values[name] for name in LAYERS[: LAYERS.index(layer)]}
    total = (values[layer] * torch.from_numpy(seed.astype(np.float64))).sum()
    found = torch.autograd.grad(total, list(before.values()))
    return {name: gradient.numpy() for name, gradient in zip(before, found, strict=True)}


def compare(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """The same names in the same order, and values that differ by no more than 1e-5 of each image's largest."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == np.float32 and found[name].shape == values.shape
        scale = np.abs(values).reshape(len(values), -1).max(axis=1)
        difference = np.abs(found[name] - values).reshape(len(values), -1).max(axis=1)
        assert (difference <= 1e-5 * scale).all(), name


@pytest.mark.parametrize("digit", range(10))
def test_the_derivatives_of_a_logit_are_those_of_autograd(
    probe: Probe, checkpoint: Checkpoint, mnist: Mnist, digit: int
) -> None:
    """By the image and by all layers, for 100 real digits; autograd's network is not folded and in float64."""
    images = mnist.images[:100, None]
    seed = np.zeros((100, 10), np.float32)
    seed[:, digit] = 1
    compare(probe.gradients(images, "logits", seed), by_autograd(checkpoint, images, "logits", seed))


@pytest.mark.parametrize("layer", ARCHITECTURE, ids=lambda layer: layer.name)
def test_a_seed_may_be_anywhere(probe: Probe, checkpoint: Checkpoint, mnist: Mnist, layer: Layer) -> None:
    """Of each layer any sum of its values, and any single value, is derived as autograd derives it."""
    random = np.random.default_rng(LAYERS.index(layer.name))
    images = mnist.images[100:120, None]
    dense = random.normal(size=(20, *layer.shape)).astype(np.float32)
    single = np.zeros((20, int(np.prod(layer.shape))), np.float32)
    single[np.arange(20), random.integers(single.shape[1], size=20)] = 1
    for seed in (dense, single.reshape(dense.shape)):
        compare(probe.gradients(images, layer.name, seed), by_autograd(checkpoint, images, layer.name, seed))


def test_one_image_is_derived_as_among_others(probe: Probe, mnist: Mnist) -> None:
    """A batch of one is no special case."""
    images, seed = mnist.images[:5, None], np.eye(10, dtype=np.float32)[:5]
    together = probe.gradients(images, "logits", seed)
    alone = probe.gradients(images[3:4], "logits", seed[3:4])
    for name, values in alone.items():
        np.testing.assert_allclose(values[0], together[name][3], atol=1e-6)


def test_answers_are_those_of_the_file(probe: Probe, plain: Any, mnist: Mnist) -> None:
    """Of more images than a run takes."""
    images = mnist.images[:70, None]
    for found, expected in zip(probe.answer(images), plain.run(None, {"image": images}), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def under_masks(checkpoint: Checkpoint, images: NDArray[np.uint8], masks: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """The logits of PyTorch's network, every layer multiplied by its mask where it has one."""
    network = checkpoint.network
    steps: dict[str, Callable[[Tensor], Tensor]] = {
        "conv1": lambda value: network.norm1(network.conv1((value - network.mean) / network.std)),
        "relu1": torch.relu,
        "pool1": network.pool,
        "conv2": lambda value: network.norm2(network.conv2(value)),
        "relu2": torch.relu,
        "pool2": network.pool,
        "fc1": lambda value: network.fc1(value.flatten(1)),
        "fc1_relu": torch.relu,
        "logits": network.fc2,
    }
    value = torch.from_numpy(images.astype(np.float64))
    with torch.no_grad():
        for name, step in steps.items():
            value = step(value) * masks.get(name, 1.0)
    logits: NDArray[np.float64] = (value / checkpoint.temperature).numpy()
    return logits


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 9_990), st.sets(st.sampled_from(LAYERS[:-1])), st.integers(0, 2**32 - 1))
def test_masks_multiply_the_layers(
    probe: Probe, checkpoint: Checkpoint, mnist: Mnist, first: int, layers: set[str], seed: int
) -> None:
    """Random masks of every value, behind any set of layers of several real digits, against PyTorch in float64."""
    images = mnist.images[first : first + 4, None]
    random = np.random.default_rng(seed)
    masks = {
        layer.name: random.uniform(0, 1.5, (4, *layer.shape)).astype(np.float32)
        for layer in ARCHITECTURE
        if layer.name in layers
    }
    logits, probabilities = probe.answer_masked(images, masks)
    expected = under_masks(checkpoint, images, {name: torch.from_numpy(mask) for name, mask in masks.items()})
    np.testing.assert_allclose(logits, expected, atol=1e-5 * max(1, np.abs(expected).max()))
    np.testing.assert_allclose(probabilities, functional.softmax(torch.from_numpy(logits), dim=1), atol=1e-6)


@pytest.fixture
def silencing() -> Iterator[Any]:
    """Silences a channel at the output of a module of PyTorch's network, by a hook, until the next one or the end."""
    handles: list[Any] = []

    def silence(module: nn.Module, channel: int) -> None:
        remove()

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            silenced = output.clone()
            silenced[:, channel] = 0
            return silenced

        handles.append(module.register_forward_hook(hook))

    def remove() -> None:
        while handles:
            handles.pop().remove()

    yield silence
    remove()


@pytest.mark.parametrize(("layer", "module"), [("conv1", "norm1"), ("conv2", "norm2"), ("fc1", "fc1")])
def test_a_mask_silences_as_a_hook_does(
    probe: Probe, checkpoint: Checkpoint, mnist: Mnist, silencing: Any, layer: str, module: str
) -> None:
    """One mask for each channel of one image at once gives what PyTorch's own forward gives channel by channel."""
    image = mnist.images[30:31, None]
    shape = next(each.shape for each in ARCHITECTURE if each.name == layer)
    channels = range(min(shape[0], 40))
    masks = np.ones((len(channels), shape[0], *(1 for _ in shape[1:])), np.float32)
    masks[channels, channels] = 0
    logits, _ = probe.answer_masked(image, {layer: masks})
    for channel, found in zip(channels, logits, strict=True):
        silencing(getattr(checkpoint.network, module), channel)
        with torch.no_grad():
            expected = checkpoint.network(torch.from_numpy(image.astype(np.float64)))[0] / checkpoint.temperature
        np.testing.assert_allclose(found, expected, atol=2e-5)


def other_network() -> tuple[list[Layer], dict[str, NDArray[np.float32]]]:
    """Strides that leave pixels over, no padding, windows that overlap, a linear layer behind no ReLU."""
    layers = [convolution("first", None, 4, 4, stride=3, padding=1)]
    layers.append(pooling("overlapping", layers[-1], 3, 2))
    layers.append(relu("open", layers[-1]))
    layers.append(convolution("second", layers[-1], 6, 2, stride=1))
    layers += [linear("between", 15), linear("logits", 10)]
    random = np.random.default_rng(5)
    shapes = weight_shapes(layers)
    parameters = {f"{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    biases = {f"{name}.bias": random.normal(size=shape[0]).astype(np.float32) for name, shape in shapes.items()}
    return layers, parameters | biases


def test_another_network_is_derived_and_masked_too(mnist: Mnist) -> None:
    """The graphs follow the manifest: other sizes, names and orders of operators, against PyTorch's functions."""
    layers, arrays = other_network()
    probe = Probe(serve(layers, arrays, mean=30, std=70))
    parameters = {name: torch.from_numpy(values.astype(np.float64)) for name, values in arrays.items()}
    images = mnist.images[:30, None]
    seed = np.random.default_rng(6).normal(size=(30, 10)).astype(np.float32)
    mask = np.random.default_rng(7).uniform(size=(30, 6, 1, 1)).astype(np.float32)

    def forward(pixels: Tensor, scale: Tensor | float) -> dict[str, Tensor]:
        values = {"image": pixels}
        value = (pixels - 30) / 70
        value = values["first"] = functional.conv2d(value, parameters["first.weight"], parameters["first.bias"], 3, 1)
        value = values["overlapping"] = functional.max_pool2d(value, 3, 2)
        value = values["open"] = value.relu()
        value = functional.conv2d(value, parameters["second.weight"], parameters["second.bias"]) * scale
        values["second"] = value
        for name in ("between", "logits"):
            value = functional.linear(value.flatten(1), parameters[f"{name}.weight"], parameters[f"{name}.bias"])
            values[name] = value
        return values

    pixels = torch.from_numpy(images.astype(np.float64)).requires_grad_()
    values = forward(pixels, 1.0)
    logits = values.pop("logits")
    gradients = torch.autograd.grad((logits * torch.from_numpy(seed)).sum(), list(values.values()))
    expected = {name: gradient.numpy() for name, gradient in zip(values, gradients, strict=True)}
    compare(probe.gradients(images, "logits", seed), expected)
    masked, _ = probe.answer_masked(images, {"second": mask})
    right = forward(pixels.detach(), torch.from_numpy(mask))["logits"].numpy()
    np.testing.assert_allclose(masked, right, atol=1e-5 * np.abs(right).max())
