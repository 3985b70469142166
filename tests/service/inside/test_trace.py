"""Traces: what the terms and the pixels of a value add up to, of every channel and unit of every layer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.inside.probe import Probe
from service.inside.terms import Place, choose_place
from service.inside.trace import Traced, trace_value
from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.networks import convolution, linear, pooling, serve, weight_shapes
from tests.service.unfolded import unfolded_network
from training.model import ARCHITECTURE, DigitNet


@pytest.fixture(scope="module")
def unfolded(model_folder: Path) -> DigitNet:
    """The network as it was trained, BatchNorm and all, in float64; its temperature in the last layer."""
    return unfolded_network(model_folder)


def places(manifest: Manifest, name: str) -> list[Place]:
    """Two places in each channel of a layer: one on one of its four edges, one inside.

    Of a linear layer it is each unit.
    """
    (layer,) = (layer for layer in manifest.layers if layer.name == name)
    channels, *sides = layer.shape
    if not sides:
        return [choose_place(manifest, name, unit, None, None) for unit in range(channels)]
    random, last = np.random.default_rng(channels), sides[0] - 1
    found = []
    for channel in range(channels):
        edge = [int(random.integers(0, last + 1)), (0, last)[channel % 2]]
        y, x = edge if channel % 4 < 2 else edge[::-1]
        found.append(choose_place(manifest, name, channel, y, x))
        y, x = random.integers(2, last - 1, 2).tolist()
        found.append(choose_place(manifest, name, channel, y, x))
    return found


@pytest.mark.parametrize("number", [0, 61])
@pytest.mark.parametrize("name", [layer.name for layer in ARCHITECTURE])
def test_every_channel_and_unit_is_the_unfolded_networks(
    probe: Probe, unfolded: DigitNet, mnist: Mnist, name: str, number: int
) -> None:
    """The sum of the terms and that of the pixels, on two digits: PyTorch's value, within 1e-5 of the layer's scale.

    The network is the one before BatchNorm and temperature were folded into it, in float64.
    """
    image = mnist.images[number][None, None]
    expected = unfolded.activations(torch.from_numpy(image / 1.0))[name][0].numpy()
    scale = np.abs(expected).max()
    seen = set()
    for place in places(probe.manifest, name):
        traced = trace_value(probe, image, place, follow=True)
        assert traced.behind is not None
        for found in (float(traced.value), traced.terms.sum, traced.behind.sum):
            assert abs(found - expected[place.index]) <= 1e-5 * scale, place
        seen.add(place.channel)
    assert seen == set(range(expected.shape[0]))


def taken(traced: Traced) -> tuple[int, ...]:
    """The row and the column of the only term that counts."""
    (index,) = np.flatnonzero(traced.terms.weight)
    assert traced.terms.weight[index] == 1 and traced.terms.y is not None and traced.terms.x is not None
    return int(traced.terms.y[index]), int(traced.terms.x[index])


@pytest.fixture(scope="module")
def padded() -> Probe:
    """A network whose first layer is negative everywhere, with a maximum over 3×3 behind it that is padded by 1."""
    layers = [convolution("conv1", None, 2, 1)]
    layers.append(pooling("pool1", layers[-1], 3, 2, padding=1))
    layers.append(linear("logits", 10))
    shapes = weight_shapes(layers)
    random = np.random.default_rng(4)
    weights = {
        "conv1.weight": np.array([1, -1], np.float32).reshape(shapes["conv1"]),
        "conv1.bias": np.array([-2, -1], np.float32),
        "logits.weight": random.normal(size=shapes["logits"]).astype(np.float32),
    }
    return Probe(serve(layers, weights))


def test_nothing_beyond_the_border_is_a_maximum(padded: Probe, mnist: Mnist) -> None:
    """ONNX pads a maximum with less than everything: of negative values the largest inside is the one that is taken.

    Which it is, NumPy finds in the window cut off at the border, the first of several; the sum and the pixels behind
    it are the engine's own value.
    """
    image = mnist.images[8][None, None]
    values = padded.engine.inspect(image, ["conv1", "pool1"])
    assert values["conv1"].max() < 0
    for channel, y, x in ((0, 0, 0), (0, 0, 7), (1, 9, 0), (1, 13, 13), (0, 6, 5), (1, 8, 0)):
        top, left = max(2 * y - 1, 0), max(2 * x - 1, 0)
        window = values["conv1"][0, channel, top : 2 * y + 2, left : 2 * x + 2]
        row, column = map(int, np.unravel_index(window.argmax(), window.shape))
        traced = trace_value(padded, image, choose_place(padded.manifest, "pool1", channel, y, x), follow=True)
        assert taken(traced) == (top + row, left + column)
        assert traced.terms.sum == traced.value == values["pool1"][0, channel, y, x] == window.max()
        assert traced.behind is not None and abs(traced.behind.sum - traced.value) < 1e-6
        assert np.argwhere(traced.behind.weights).tolist() == [[top + row, left + column]]
    answer = trace_value(padded, image, choose_place(padded.manifest, "logits", 3, None, None), follow=True)
    assert answer.behind is not None and abs(answer.behind.sum - answer.terms.sum) < 1e-5 * abs(answer.terms.sum) + 1e-5


def test_of_equal_values_the_first_is_taken_by_both(probe: Probe, padded: Probe) -> None:
    """On a blank image nearly all windows have several largest values: terms and pixels are of the same one."""
    blank: NDArray[np.uint8] = np.zeros((1, 1, 28, 28), np.uint8)
    tied = 0
    for each, before, sizes in ((probe, "relu1", (8, 14)), (padded, "conv1", (2, 14))):
        values = each.engine.inspect(blank, [before])[before][0]
        for channel in range(sizes[0]):
            for y, x in ((0, 0), (5, 6), (sizes[1] - 1, sizes[1] - 1)):
                traced = trace_value(each, blank, choose_place(each.manifest, "pool1", channel, y, x), follow=True)
                row, column = taken(traced)
                inside = traced.terms.input[~traced.terms.padding]
                tied += int(np.count_nonzero(inside == inside.max()) > 1)
                assert values[channel, row, column] == traced.value
                assert traced.terms.weight[~traced.terms.padding].argmax() == inside.argmax()
                source = trace_value(
                    each, blank, choose_place(each.manifest, before, channel, row, column), follow=True
                )
                assert traced.behind is not None and source.behind is not None
                np.testing.assert_array_equal(traced.behind.weights, source.behind.weights)
                assert traced.behind.offset == source.behind.offset
    assert tied >= 20
