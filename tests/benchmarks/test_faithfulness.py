"""The benchmark of faithfulness: what its figures are of, and that they point the right way."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import faithfulness
from benchmarks.faithfulness import Score, Way, score, ways, write_table
from service.engine import Engine
from service.inside.probe import Probe
from service.manifest import Manifest
from training.data import Digits, Mnist


@pytest.fixture(scope="module")
def probe(model_bytes: bytes, manifest: Manifest) -> Probe:
    """The probe of the shipped model."""
    return Probe(Engine(model_bytes, manifest, provider="cpu", threads=1))


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Twelve of the test set, from which nothing is chosen here."""
    return Mnist(Path(__file__).parents[1] / "data").test().take(np.arange(12))


def test_all_methods_are_scored(probe: Probe) -> None:
    """Each by a name of its own, on every layer of maps and with every square."""
    names = [str(way) for way in ways(probe)]
    assert len(set(names)) == len(names) == 2 + 6 + 8
    assert {"saliency", "contributions", "gradcam, relu2", "occlusion, 3×3"} < set(names)


def test_occlusion_is_truer_than_chance(probe: Probe, digits: Digits) -> None:
    """On a dozen digits; random orders have the same areas whatever they stand beside, and none tells anything."""
    own, random = score(probe, Way("occlusion"), digits)
    assert len(own.deletion) == len(random.deletion) == 12
    assert own.gap > 0.15 > abs(random.gap)
    assert score(probe, Way("saliency"), digits)[1] == random


def test_the_table_counts_and_averages() -> None:
    """A mean for each column, and the digits on which the map did better than chance."""
    own = Score("one", [0.1, 0.5], [0.9, 0.2], [1.0, 2.0], [3.0, 4.0])
    random = Score("random order", [0.4, 0.4], [0.6, 0.4], [0.0, 0.0], [0.0, 1.0])
    table = write_table([own], random, {"machine": "some"})
    assert "| one | 0.300 | 1 | 0.550 | 1 | 0.250 | 1.50 | 3.50 |" in table
    assert "| random order | 0.400 |  | 0.500 |  | 0.100 | 0.00 | 0.50 |" in table


def test_it_writes_both_files(tmp_path: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page and the figures behind it, of as many digits as are asked for."""
    monkeypatch.setattr(Mnist, "training", lambda _: digits)
    monkeypatch.setattr(faithfulness, "ways", lambda _: [Way("saliency"), Way("occlusion")])
    faithfulness.main(["--digits", "2", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "faithfulness.json").read_text())
    assert [each["way"] for each in written["scores"]] == ["saliency", "occlusion, 3×3", "random order"]
    assert all(len(each["insertion"]) == 2 for each in written["scores"])
    assert (tmp_path / "faithfulness.md").read_text().startswith("# How true the maps are\n")
