"""Layers by their names: which are meant, and what is said of those that are not there or do not fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import UnknownError
from service.inside.layers import choose_layers, layer_named
from service.manifest import Manifest

ORDER = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (["conv1"], ["conv1"]),
        (["pool2", "conv1"], ["conv1", "pool2"]),
        (["pool2,conv1"], ["conv1", "pool2"]),
        ([" fc1 , conv2 ", "relu1"], ["relu1", "conv2", "fc1"]),
        (["conv1", "conv1,conv1"], ["conv1"]),
        (["all"], ORDER),
        (["conv1,all"], ORDER),
    ],
)
def test_layers_are_chosen_in_the_networks_order(manifest: Manifest, asked: list[str], chosen: list[str]) -> None:
    """By repetition, by commas or all: each layer once, in the order of computation."""
    assert [layer.name for layer in choose_layers(manifest, asked)] == chosen


@pytest.mark.parametrize("asked", [["conv3"], ["conv1,conv3"], ["all", "conv3"], ["CONV1"], [""], ["conv1,"]])
def test_an_unknown_layer_is_named(manifest: Manifest, asked: list[str]) -> None:
    """One wrong name among right ones is refused, with the names that there are."""
    with pytest.raises(UnknownError, match=f"^the model has no layer '.*'; it has {', '.join(ORDER)}, logits$"):
        choose_layers(manifest, asked)


@settings(deadline=None, max_examples=30)
@given(st.text(min_size=41, max_size=500))
def test_a_long_name_is_not_repeated_in_full(manifest: Manifest, name: str) -> None:
    """Whatever somebody sends, the sentence stays one that can be read."""
    with pytest.raises(UnknownError) as refusal:
        choose_layers(manifest, [name])
    assert len(str(refusal.value)) < 200


def test_the_layer_that_answers_is_no_feature(manifest: Manifest) -> None:
    """It is there, so that nothing else is said of it than that."""
    with pytest.raises(UnknownError, match=f"^layer logits is the answer itself; .* one of {', '.join(ORDER)}$"):
        choose_layers(manifest, ["conv1,logits"])


def test_a_layer_that_does_not_fit_is_told_from_one_that_is_not_there(manifest: Manifest) -> None:
    """The first with its fault and those that fit, the second with all that there are."""
    pooled = [layer for layer in manifest.layers if layer.operator == "MaxPool"]
    assert layer_named(manifest, "pool2", pooled, "pools nothing").name == "pool2"
    with pytest.raises(UnknownError, match=r"^layer conv1 pools nothing; it is to be one of pool1, pool2$"):
        layer_named(manifest, "conv1", pooled, "pools nothing")
    with pytest.raises(UnknownError, match=r"^layer conv1 pools nothing$"):
        layer_named(manifest, "conv1", [], "pools nothing")
    with pytest.raises(UnknownError, match=r"^the model has no layer 'pool3'; it has conv1, .*, logits$"):
        layer_named(manifest, "pool3", pooled, "pools nothing")
