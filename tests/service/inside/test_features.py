"""Feature maps as data: which layers, over which ranges, and as JSON."""

import json

import numpy as np
from numpy.typing import NDArray

from service.answer import to_json
from service.inside.features import as_json, as_maps, choose, ranges
from service.manifest import Manifest

ORDER = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"]
RANDOM = np.random.default_rng(5)
MAPS = {"a": RANDOM.normal(size=(3, 4, 5)).astype(np.float32), "b": RANDOM.normal(3, 9, (2, 6, 6)).astype(np.float32)}


def test_ranges_by_map() -> None:
    """Each map spans its own least and largest value."""
    assert ranges(MAPS, "map") == {
        name: [(float(np.min(single)), float(np.max(single))) for single in layer] for name, layer in MAPS.items()
    }


def test_ranges_by_layer() -> None:
    """All maps of a layer share the layer's span."""
    assert ranges(MAPS, "layer") == {
        name: [(float(np.min(layer)), float(np.max(layer)))] * len(layer) for name, layer in MAPS.items()
    }


def test_ranges_over_all() -> None:
    """Every map of every layer has one span."""
    everything = np.concatenate([layer.ravel() for layer in MAPS.values()])
    span = (float(everything.min()), float(everything.max()))
    assert ranges(MAPS, "all") == {"a": [span] * 3, "b": [span] * 2}


def test_a_linear_layer_is_one_row() -> None:
    """Its values have no places, so they are one map of one row."""
    laid_out = as_maps(np.arange(600, dtype=np.float32))
    assert laid_out.shape == (1, 1, 600)
    np.testing.assert_array_equal(laid_out.ravel(), np.arange(600))


def test_maps_are_maps_already() -> None:
    """A convolution's channels are shown as they are."""
    assert as_maps(MAPS["a"]) is MAPS["a"]


def some(manifest: Manifest, *names: str) -> dict[str, NDArray[np.float32]]:
    """Random activations of two pictures for some layers."""
    shapes = {layer.name: layer.shape for layer in manifest.layers}
    return {name: RANDOM.normal(size=(2, *shapes[name])).astype(np.float32) for name in names}


def test_json_describes_each_layer(manifest: Manifest) -> None:
    """Name, operator, shape and sign stand beside the values."""
    values = some(manifest, "conv1", "relu1", "fc1")
    described = as_json(choose(manifest, list(values)), values)
    assert [(layer["name"], layer["operator"], layer["shape"], layer["signed"]) for layer in described] == [
        ("conv1", "Conv", (8, 28, 28), True),
        ("relu1", "Relu", (8, 28, 28), False),
        ("fc1", "Gemm", (600,), True),
    ]
    for layer in described:
        written = np.array(json.loads(to_json(layer["values"])), np.float32)
        np.testing.assert_array_equal(written, values[layer["name"]], strict=True)
    assert [layer["channels"].tolist() for layer in described] == [list(range(size)) for size in (8, 8, 600)]


def test_json_has_the_chosen_channels_alone(manifest: Manifest) -> None:
    """Shape, numbers, statistics and values are theirs, and the values stay out where they are not wanted."""
    values = some(manifest, "conv1", "fc1")
    choices = choose(manifest, list(values), ["7,2-3"])
    for layer, (name, all_of_it) in zip(as_json(choices, values), values.items(), strict=True):
        assert layer["name"] == name and layer["channels"].tolist() == [2, 3, 7]
        assert layer["shape"] == (3, *all_of_it.shape[2:])
        np.testing.assert_array_equal(layer["values"], all_of_it[:, [2, 3, 7]])
        facts = layer["statistics"]
        assert list(facts) == ["minimum", "maximum", "mean", "zeros", "positive", "dead", "saturated"]
        flags = {facts.pop("dead") is None, facts.pop("saturated") is None}
        assert flags == {name == "fc1"} and all(fact.shape == (2, 3) for fact in facts.values())
        assert to_json(layer["values"]), "it cannot be written as JSON"
    assert all("values" not in layer for layer in as_json(choices, values, values=False))
