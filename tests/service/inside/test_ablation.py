"""Ablation: which channels are meant, and what the answer is without them."""

import numpy as np
import pytest

from service.engine import Engine
from service.errors import MalformedError, UnknownError
from service.inside.ablation import ablate, choose_layer, choose_silenced
from service.inside.probe import Probe
from service.manifest import Manifest
from tests.conftest import Mnist


@pytest.fixture(scope="module")
def probe(model_bytes: bytes, manifest: Manifest) -> Probe:
    """The probe of the shipped model."""
    return Probe(Engine(model_bytes, manifest, provider="cpu", threads=1))


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (["5"], [(5,)]),
        (["6,5", "9"], [(5, 6, 9)]),
        (["0,29-31"], [(0, 29, 30, 31)]),
        ([], [(n,) for n in range(32)]),
    ],
)
def test_channels_are_read(manifest: Manifest, asked: list[str], chosen: list[tuple[int, ...]]) -> None:
    """All that are asked for are one choice, in order; without any each channel is one."""
    found = choose_silenced(choose_layer(manifest, "conv2"), asked)
    assert found == chosen and all(type(channel) is int for channels in found for channel in channels)


def test_channels_and_layers_that_are_not_there_are_refused(manifest: Manifest) -> None:
    """The sentence names those that are."""
    with pytest.raises(MalformedError, match=r"^channels: fc1 has 0 to 599, and 600 is asked for$"):
        choose_silenced(choose_layer(manifest, "fc1"), ["3,600"])
    with pytest.raises(MalformedError, match=r"^channels: '' is neither a number nor a range such as 5-7$"):
        choose_silenced(choose_layer(manifest, "fc1"), [""])
    with pytest.raises(UnknownError, match=r"^layer logits is the answer itself and cannot be silenced; .* conv1, "):
        choose_layer(manifest, "logits")
    with pytest.raises(UnknownError, match=r"^the model has no layer 'all'; it has conv1, "):
        choose_layer(manifest, "all")
    assert choose_layer(manifest, None).name == "conv2"
    with pytest.raises(UnknownError, match=r"^the model has no convolution .*; a layer is to be named$"):
        choose_layer(manifest.model_copy(update={"layers": manifest.layers[-3:]}), None)


@pytest.mark.parametrize("layer", ["conv1", "pool2", "fc1_relu"])
def test_each_in_turn_is_each_alone(probe: Probe, manifest: Manifest, mnist: Mnist, layer: str) -> None:
    """One batch for all channels gives each what it gets by itself, and the rest of the layer stays as it is."""
    chosen = choose_layer(manifest, layer)
    image = mnist.images[2:3, None]
    before, silenced = ablate(probe, image, chosen, choose_silenced(chosen, []))
    assert [each.channels for each in silenced] == [(channel,) for channel in range(chosen.shape[0])]
    for channel in (0, chosen.shape[0] // 2, chosen.shape[0] - 1):
        again, (alone,) = ablate(probe, image, chosen, [(channel,)])
        np.testing.assert_allclose(again.logits, before.logits, atol=1e-5)
        np.testing.assert_allclose(alone.reply.logits, silenced[channel].reply.logits, atol=1e-5)
        np.testing.assert_array_equal(alone.difference, alone.reply.logits - again.logits)


def test_before_and_behind_the_relu_is_the_same(probe: Probe, manifest: Manifest, mnist: Mnist) -> None:
    """A channel that is zero before its ReLU and its pooling is zero behind them."""
    image = mnist.images[3:4, None]
    logits = [
        ablate(probe, image, choose_layer(manifest, name), [(5, 9)])[1][0].reply.logits
        for name in ("conv2", "relu2", "pool2")
    ]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])


def test_a_unit_that_is_silent_already_changes_nothing(probe: Probe, manifest: Manifest, mnist: Mnist) -> None:
    """What the ReLU stopped is not missed, to the last bit; and without all units only the biases speak."""
    image = mnist.images[4:5, None]
    layer = choose_layer(manifest, "fc1_relu")
    values = probe.engine.inspect(image, ["fc1_relu"])["fc1_relu"][0]
    _, silenced = ablate(probe, image, layer, choose_silenced(layer, []))
    for each, value in zip(silenced, values, strict=True):
        assert each.difference.any() == (value > 0)
    _, (nothing,) = ablate(probe, image, layer, [tuple(range(600))])
    np.testing.assert_array_equal(nothing.reply.logits, probe.engine.parameters["logits.bias"])
