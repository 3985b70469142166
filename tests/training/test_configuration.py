"""The configuration of a run as text."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import Distortion
from training.configuration import Configuration


@settings(deadline=None, max_examples=30)
@given(st.builds(Configuration, distortion=st.builds(Distortion)))
def test_a_configuration_survives_as_json(configuration: Configuration) -> None:
    """Whatever its values, the text gives back an equal one, and holds every field's value by name."""
    text = configuration.to_json()
    assert Configuration.from_json(text) == configuration
    values = json.loads(text)
    for field in dataclasses.fields(Configuration):
        if field.name != "distortion":
            assert values[field.name] == getattr(configuration, field.name)
    assert set(values["distortion"]) == {field.name for field in dataclasses.fields(Distortion)}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"distortion": {}, "epoch": 3}', '{"distortion": {"spin": 1}}', '{"distortion": 3}'],
)
def test_another_text_is_refused(text: str) -> None:
    """No JSON, another document, or a field that is not known raises what the checkpoint's reader catches."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Configuration.from_json(text)
