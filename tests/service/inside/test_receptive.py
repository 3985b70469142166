"""Receptive fields, by asking autograd which pixels a value depends on."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from service.inside.receptive import receptive_fields
from service.layer import Layer
from service.manifest import Manifest


def reached(layers: tuple[Layer, ...], size: int, y: int, x: int) -> NDArray[np.bool_]:
    """Which pixels of a square image have a share in a value of the last layer, by weights of 1 throughout."""
    image = torch.ones(1, 1, size, size, requires_grad=True)
    values: Tensor = image
    for layer in layers:
        if layer.kernel and layer.stride:
            weights = torch.ones(1, 1, layer.kernel, layer.kernel)
            values = functional.conv2d(values, weights, stride=layer.stride, padding=layer.padding or 0)
    (gradient,) = torch.autograd.grad(values[0, 0, y, x], image)
    return (gradient[0, 0] > 0).numpy()


@pytest.mark.parametrize("name", ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2"])
def test_it_is_what_a_value_depends_on(manifest: Manifest, name: str) -> None:
    """For every value of each layer of the served network, corners included, pixel by pixel."""
    names = [layer.name for layer in manifest.layers]
    number = names.index(name)
    field = receptive_fields(manifest.layers)[number]
    assert field is not None
    layers = manifest.layers[: number + 1]
    side = layers[-1].shape[-1]
    pixels = np.arange(28)
    for y in range(side):
        for x in (0, y, side - 1):
            rows, columns = (
                np.abs(pixels - (field.start + place * field.jump)) <= (field.size - 1) / 2 for place in (y, x)
            )
            np.testing.assert_array_equal(reached(layers, 28, y, x), np.outer(rows, columns))


def test_linear_layers_see_the_whole_image(manifest: Manifest) -> None:
    """They have no field of their own, nor has what follows them."""
    fields = dict(zip([layer.name for layer in manifest.layers], receptive_fields(manifest.layers), strict=True))
    assert [name for name, field in fields.items() if field is None] == ["fc1", "fc1_relu", "logits"]
