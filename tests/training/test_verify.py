"""Verification: what passes it, and that nothing wrong does."""

import copy
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.engine import Engine
from service.manifest import Manifest
from tests.training.conftest import make_manifest
from training.data import Digits
from training.errors import ReleaseError
from training.model import ARCHITECTURE, DigitNet
from training.verify import BATCHES, TOLERANCE, verify

TEMPERATURE = 1.5


@pytest.fixture
def some(digits: Digits) -> Digits:
    """Thirty real digits."""
    return digits.take(slice(30))


def test_every_way_and_layer_is_compared(network: DigitNet, some: Digits) -> None:
    """For a sound model there is one deviation, within the tolerance, for each of thirteen ways and nine layers."""
    before = copy.deepcopy(network.state_dict())
    model, manifest = make_manifest(network, TEMPERATURE, some)
    deviations = verify(network, TEMPERATURE, model, manifest, some.images, "cpu")
    ways = dict.fromkeys(deviation.way for deviation in deviations)
    assert len(ways) == 3 + 2 * len(BATCHES)
    assert sum("CPUExecutionProvider" in way and "as written" in way for way in ways) == len(BATCHES)
    pairs = [(deviation.way, deviation.layer) for deviation in deviations]
    assert sorted(pairs) == sorted((way, layer.name) for way in ways for layer in ARCHITECTURE)
    assert all(0 <= deviation.difference <= 1e-4 and deviation.misread == 0 for deviation in deviations)
    assert any(deviation.difference > 0 for deviation in deviations)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_changed_weight_is_found_where_it_shows_most(network: DigitNet, some: Digits) -> None:
    """A unit of fc1 that the logits ignore is changed: the message names the way, the layer, the size and the image."""
    with torch.no_grad():
        network.fc1.bias[7] = -100  # its ReLU gives 0 for every digit
        model, manifest = make_manifest(network, TEMPERATURE, some)
        inputs = network.activations(torch.tensor(some.images).float())["pool2"].flatten(1)
        column = int(inputs.std(dim=0).argmax())
        network.fc1.weight[7, column] += 0.01
    deviations = 0.01 * inputs[:, column]
    with pytest.raises(ReleaseError, match=r"^not verified in 10 of 117 comparisons, worst ONNX Runtime") as caught:
        verify(network, TEMPERATURE, model, manifest, some.images, "cpu")
    found = re.search(
        r"\(CPUExecutionProvider\), (optimised|as written), batch \d+: fc1 deviates by (\S+) at test image (\d+)$",
        str(caught.value),
    )
    assert found
    assert float(found[2]) == pytest.approx(float(deviations.max()), rel=0.02)
    assert int(found[3]) == int(deviations.argmax())


def test_a_deviation_beyond_the_tolerance_fails_and_one_below_does_not(network: DigitNet, some: Digits) -> None:
    """A logit that is off by twice the tolerance is refused, and by half of it let pass."""
    network.double()
    model, manifest = make_manifest(network, 1.0, some)
    bias = network.fc2.bias.detach().clone()
    for share, passes in ((0.5, True), (2.0, False)):
        with torch.no_grad():
            network.fc2.bias.copy_(bias)
            network.fc2.bias[4] += share * TOLERANCE
        if passes:
            assert verify(network, 1.0, model, manifest, some.images, "cpu")
        else:
            with pytest.raises(ReleaseError, match=r"logits deviates by 2\.0"):
                verify(network, 1.0, model, manifest, some.images, "cpu")


@pytest.mark.parametrize("chunk", [7, 1000])
def test_a_digit_read_otherwise_fails_within_the_tolerance(
    network: DigitNet, some: Digits, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Where two digits are all but equally likely, a difference too small to matter still changes what is read."""
    monkeypatch.setattr("training.verify._CHUNK", chunk)
    with torch.no_grad():
        network.double().fc2.weight.zero_()
        network.fc2.bias.zero_()
        network.fc2.bias[3] = 1e-6
        model, manifest = make_manifest(network, 1.0, some)
        network.fc2.bias[5] = 2e-6
    with pytest.raises(
        ReleaseError, match=r"logits deviates by 2\.\d+e-06 at test image \d+, and 30 images get another"
    ):
        verify(network, 1.0, model, manifest, some.images, "cpu")


@pytest.mark.parametrize("image", [0, 12, 29])
def test_a_nan_fails_wherever_it_is(
    network: DigitNet, some: Digits, monkeypatch: pytest.MonkeyPatch, image: int
) -> None:
    """One value of one map that is no number fails, in the first images that are compared or in later ones."""
    model, manifest = make_manifest(network, TEMPERATURE, some)
    original = Engine.inspect

    def inspect(self: Engine, images: NDArray[np.uint8], names: Any) -> dict[str, NDArray[np.float32]]:
        values = original(self, images, names)
        spoilt = (images == some.images[image]).all(axis=(1, 2, 3))
        if "logits" not in names:  # the engine's own golden inputs stay as they are
            values["relu2"][spoilt, 3, 3, 3] = math.nan
        return values

    monkeypatch.setattr("training.verify._CHUNK", 10)
    monkeypatch.setattr(Engine, "inspect", inspect)
    with pytest.raises(ReleaseError, match=f"relu2 deviates by nan at test image {image}$"):
        verify(network, TEMPERATURE, model, manifest, some.images, "cpu")


def test_deviations_are_gathered_over_all_images(
    network: DigitNet, some: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing a few images at a time finds the same worst deviations and places as comparing all at once."""
    model, manifest = make_manifest(network, TEMPERATURE, some)
    whole = verify(network, TEMPERATURE, model, manifest, some.images, "cpu")
    monkeypatch.setattr("training.verify._CHUNK", 7)
    parts = verify(network, TEMPERATURE, model, manifest, some.images, "cpu")
    exact = [deviation for deviation in parts if "batch 1" in deviation.way and "batch 1000" not in deviation.way]
    assert len(exact) == 2 * len(ARCHITECTURE)
    assert all(deviation in whole for deviation in exact)


def test_a_model_that_the_engine_refuses_is_not_verified(network: DigitNet, some: Digits) -> None:
    """A network that is another one altogether already fails its golden inputs."""
    _, manifest = make_manifest(network, TEMPERATURE, some)
    model, _ = make_manifest(network, 3.0, some)
    with pytest.raises(ReleaseError, match=r"^the engine refuses the model: the golden inputs are answered wrong"):
        verify(network, TEMPERATURE, model, manifest, some.images, "cpu")


def test_a_layer_of_another_shape_is_not_compared(
    network: DigitNet, some: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that answers with fewer rows than images is found out instead of broadcast."""
    model, manifest = make_manifest(network, TEMPERATURE, some)
    assert isinstance(manifest, Manifest)
    original = Engine.predict

    def predict(self: Engine, images: NDArray[np.uint8]) -> Any:
        logits, probabilities = original(self, images)
        return (logits[:1], probabilities) if len(images) == len(some) else (logits, probabilities)

    monkeypatch.setattr(Engine, "predict", predict)
    with pytest.raises(ReleaseError, match=r"logits has the shape \(1, 10\), not \(30, 10\)$"):
        verify(network, TEMPERATURE, model, manifest, some.images, "cpu")
