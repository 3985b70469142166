"""Neighbours against SciPy, and exemplars against every other training digit, both by PyTorch's unfolded network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from service.engine import Engine
from service.inside.index import Index, load_index
from service.inside.similarity import Similarity
from service.manifest import Manifest
from tests.conftest import Mnist
from training.checkpoint import load_checkpoint

Values = NDArray[np.float64]
Oracle = Callable[[NDArray[np.uint8]], dict[str, Values]]
LAYERS = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"]
OF = dict(zip(LAYERS, ["conv1"] * 3 + ["conv2"] * 3 + ["fc1"] * 2, strict=True))
SAMPLE = 2_000  # training digits


@pytest.fixture(scope="module")
def oracle(model_folder: Path) -> Oracle:
    """The unfolded network in float64: every layer by name, of images (n, 28, 28)."""
    network = load_checkpoint(model_folder / "checkpoint.safetensors").network.double()

    def values(images: NDArray[np.uint8]) -> dict[str, Values]:
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 250):
                some = torch.tensor(images[start : start + 250, None]).double()
                parts.append({name: value.numpy() for name, value in network.activations(some).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return values


@pytest.fixture(scope="module")
def similarity(model_bytes: bytes, manifest: Manifest, model_folder: Path) -> Similarity:
    """That of the shipped model."""
    return Similarity(Engine(model_bytes, manifest, provider="cpu"), model_folder)


@pytest.fixture(scope="module")
def index(model_folder: Path, manifest: Manifest) -> Index:
    """The shipped one."""
    return load_index(model_folder, manifest)


@pytest.fixture(scope="module")
def prototypes(oracle: Oracle, index: Index) -> Values:
    """What the oracle makes of the prototypes in the layer that neighbours are near in."""
    return oracle(index.images[index.prototypes])["fc1_relu"]


def test_neighbours_are_scipys(
    similarity: Similarity, index: Index, oracle: Oracle, prototypes: Values, mnist: Mnist
) -> None:
    """The fifty nearest of forty test digits have SciPy's distances, in order, and each digit has its own distance."""
    images = mnist.images[:40]
    answers = oracle(images)
    expected = cdist(answers["fc1_relu"], prototypes, "cosine")
    places = {int(place): number for number, place in enumerate(index.indices[index.prototypes])}
    for image, distances, logits in zip(images, expected, answers["logits"], strict=True):
        digit, found = similarity.neighbours(image[None, None], 50)
        assert digit == logits.argmax()
        given_distances = [neighbour.distance for neighbour in found]
        np.testing.assert_allclose(given_distances, np.sort(distances)[:50], rtol=0, atol=1e-6)
        own = [distances[places[neighbour.index]] for neighbour in found]
        np.testing.assert_allclose(given_distances, own, rtol=0, atol=1e-6)
        assert given_distances == sorted(given_distances)


def test_a_prototype_is_its_own_nearest(similarity: Similarity, index: Index) -> None:
    """At distance 0, with its label, its place and its pixels."""
    for row in index.prototypes[::97]:
        _, (nearest,) = similarity.neighbours(index.images[row][None, None], 1)
        assert (nearest.index, nearest.label) == (index.indices[row], index.labels[row])
        assert nearest.distance == pytest.approx(0, abs=1e-9)
        np.testing.assert_array_equal(nearest.image, index.images[row])


@settings(deadline=None, max_examples=20)
@given(st.binary(min_size=784, max_size=784), st.integers(1, 50))
def test_any_picture_has_neighbours(similarity: Similarity, pixels: bytes, count: int) -> None:
    """As many as are asked for, all different, at distances from 0 to 1: values after a ReLU have no obtuse angle."""
    _, found = similarity.neighbours(np.frombuffer(pixels, np.uint8).reshape(1, 1, 28, 28), count)
    assert len({neighbour.index for neighbour in found}) == len(found) == count
    assert all(0 <= neighbour.distance <= 1 + 1e-6 for neighbour in found)


@pytest.fixture(scope="module")
def sample(oracle: Oracle, manifest: Manifest, training_set: Mnist) -> tuple[NDArray[np.intp], dict[str, Values]]:
    """Places of training digits drawn at random, and the largest value of each channel for each, (digits, channels)."""
    training = np.random.default_rng(manifest.training["seed"]).permutation(60_000)[5000:]
    places = np.random.default_rng(11).choice(training, SAMPLE, replace=False)
    values = oracle(training_set.images[places])
    return places, {name: values[name].reshape(*values[name].shape[:2], -1).max(axis=2) for name in set(OF.values())}


def test_no_digit_excites_a_channel_more(
    index: Index, oracle: Oracle, sample: tuple[NDArray[np.intp], dict[str, Values]]
) -> None:
    """Of all channels, exemplars are in falling order, and whatever of a sample excites more than the last is one."""
    places, largest = sample
    values = oracle(index.images)
    for layer, table in index.exemplars.items():
        own = values[layer].reshape(*values[layer].shape[:2], -1).max(axis=2)
        excited = np.take_along_axis(own.T, table.astype(np.intp), axis=1)
        assert (np.diff(excited, axis=1) <= 1e-5).all(), layer
        for channel, rows in enumerate(table):
            more = places[largest[layer][:, channel] > excited[channel, -1] + 1e-5]
            assert set(more.tolist()) <= set(index.indices[rows].tolist()), (layer, channel)


@pytest.mark.parametrize("layer", LAYERS)
def test_exemplars_are_what_the_oracle_sees(
    similarity: Similarity, manifest: Manifest, index: Index, oracle: Oracle, layer: str
) -> None:
    """Value and place are the oracle's, the digits those of the layer with weights before, the most excited first."""
    (described,) = (one for one in manifest.layers if one.name == layer)
    for channel in range(0, described.shape[0], 1 + described.shape[0] // 12):
        found = similarity.exemplars(described, channel, 9)
        rows = index.exemplars[OF[layer]][channel]
        assert [exemplar.index for exemplar in found] == index.indices[rows].tolist()
        assert [exemplar.label for exemplar in found] == index.labels[rows].tolist()
        for exemplar, values in zip(found, oracle(index.images[rows])[layer][:, channel], strict=True):
            assert exemplar.activation == pytest.approx(values.max(), abs=1e-4)
            assert values.ndim == 0 or values[exemplar.at] == pytest.approx(values.max(), abs=1e-4)
        activations = [exemplar.activation for exemplar in found]
        np.testing.assert_allclose(activations, sorted(activations, reverse=True), rtol=0, atol=1e-5)
        fewer = similarity.exemplars(described, channel, 2)
        assert [exemplar.index for exemplar in fewer] == [exemplar.index for exemplar in found[:2]]


@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2", "pool2"])
def test_only_the_box_excites(similarity: Similarity, manifest: Manifest, oracle: Oracle, layer: str) -> None:
    """Every pixel outside of the box may be another one, and the value at the place stays; inside it does not."""
    (described,) = (one for one in manifest.layers if one.name == layer)
    random = np.random.default_rng(3)
    for channel in range(0, described.shape[0], 3):
        (exemplar,) = similarity.exemplars(described, channel, 1)
        assert exemplar.at is not None and exemplar.box is not None
        left, top, width, height = exemplar.box
        inside = np.zeros((28, 28), bool)
        inside[max(top, 0) : top + height, max(left, 0) : left + width] = True
        noise = random.integers(0, 256, (28, 28)).astype(np.uint8)
        images = np.stack([np.where(inside, exemplar.image, noise), np.where(inside, noise, exemplar.image)])
        outside, within = oracle(images)[layer][:, channel, *exemplar.at]
        assert outside == pytest.approx(exemplar.activation, abs=1e-4)
        assert within != pytest.approx(exemplar.activation, abs=1e-2)


@pytest.mark.parametrize("layer", ["fc1", "fc1_relu"])
def test_a_linear_layer_has_no_place(similarity: Similarity, manifest: Manifest, layer: str) -> None:
    """Its values depend on the whole image."""
    (described,) = (one for one in manifest.layers if one.name == layer)
    for exemplar in similarity.exemplars(described, 599, 9):
        assert exemplar.at is None and exemplar.box is None
