"""Explanations: whose maps they are, and what is measured of them."""

import json

import numpy as np
import pytest

from service.answer import to_json
from service.engine import Engine
from service.inside.attribution import attribute
from service.inside.explanation import as_json, explain
from service.inside.faithfulness import measure
from service.inside.probe import Probe
from service.manifest import Manifest
from tests.conftest import Mnist


@pytest.fixture(scope="module")
def probe(model_bytes: bytes, manifest: Manifest) -> Probe:
    """The probe of the shipped model."""
    return Probe(Engine(model_bytes, manifest, provider="cpu", threads=1))


def test_without_a_digit_it_is_the_one_that_is_read(probe: Probe, mnist: Mnist) -> None:
    """With the engine's own probability; the map is a single one, and is not measured unless that is asked for."""
    image = mnist.images[8][None, None]
    found = explain(probe, image, "saliency")
    _, (probabilities,) = probe.engine.predict(image)
    assert [each.digit for each in found.found] == [found.guess] == [probabilities.argmax()] == [5]
    assert found.confidence == pytest.approx(probabilities[5], abs=1e-5)
    (expected,) = attribute(probe, image, "saliency", [5])
    np.testing.assert_array_equal(found.maps, expected.map, strict=True)
    assert found.unit == "logits per grey level" and not found.measured
    assert "faithfulness" not in as_json(found)


def test_several_maps_are_measured_each(probe: Probe, mnist: Mnist) -> None:
    """Each for its own digit, whatever is read; JSON has them as a list, a single one without."""
    image = mnist.images[8][None, None]
    found = explain(probe, image, "occlusion", (3, 6), size=5, faithfulness=True)
    expected = attribute(probe, image, "occlusion", (3, 6), size=5)
    np.testing.assert_array_equal(found.maps, np.stack([each.map for each in expected]), strict=True)
    told = json.loads(to_json(as_json(found)))
    assert [each["digit"] for each in told["digits"]] == [3, 6] and told["prediction"]["digit"] == 5
    courses = measure(probe, image, {each.digit: each.map for each in expected})
    for each in told["digits"]:
        assert each["faithfulness"]["deletion"]["area"] == courses[each["digit"]].deletion.area
