"""The configuration of a run as text."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import Distortion
from training.configuration import Configuration, Teaching, split_seed


@settings(deadline=None, max_examples=30)
@given(st.builds(Configuration, distortion=st.builds(Distortion), teaching=st.none() | st.builds(Teaching)))
def test_a_configuration_survives_as_json(configuration: Configuration) -> None:
    """Whatever its values, the text gives back an equal one, and holds every field's value by name."""
    text = configuration.to_json()
    assert Configuration.from_json(text) == configuration
    values = json.loads(text)
    for field in dataclasses.fields(Configuration):
        if field.name not in {"distortion", "teaching"}:
            assert values[field.name] == getattr(configuration, field.name)
    assert values["teaching"] == (configuration.teaching and dataclasses.asdict(configuration.teaching))
    assert set(values["distortion"]) == {field.name for field in dataclasses.fields(Distortion)}


def test_a_text_from_before_there_were_teachers_is_read() -> None:
    """Without `split` and `teaching` it is a run of its own split, which labels alone have taught."""
    values = json.loads(Configuration(seed=3).to_json())
    del values["split"], values["teaching"]
    assert Configuration.from_json(json.dumps(values)) == Configuration(seed=3)
    assert split_seed(values) == 3


@pytest.mark.parametrize("split", [None, 0, 9])
def test_the_split_is_drawn_by_its_own_seed_where_there_is_one(split: int | None) -> None:
    """Zero is a seed as any other; and the values of a manifest say the same as the configuration."""
    configuration = Configuration(seed=3, split=split)
    assert configuration.split_seed == split_seed(dataclasses.asdict(configuration)) == (3 if split is None else split)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"distortion": {}, "epoch": 3}',
        '{"distortion": {"spin": 1}}',
        '{"distortion": 3}',
        '{"distortion": {}, "teaching": {"pupils": 1}}',
    ],
)
def test_another_text_is_refused(text: str) -> None:
    """No JSON, another document, or a field that is not known raises what the checkpoint's reader catches."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Configuration.from_json(text)
