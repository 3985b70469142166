"""What the tests of looking inside share: the shipped model's probe, and the network before it was folded."""

from pathlib import Path

import pytest

from service.engine import Engine
from service.inside.probe import Probe
from service.manifest import Manifest
from training.checkpoint import Checkpoint, load_checkpoint


@pytest.fixture(scope="session")
def probe(model_bytes: bytes, manifest: Manifest) -> Probe:
    """The probe of the shipped model."""
    return Probe(Engine(model_bytes, manifest, provider="cpu", threads=1))


@pytest.fixture(scope="module")
def checkpoint(model_folder: Path) -> Checkpoint:
    """The network before folding, in float64."""
    loaded = load_checkpoint(model_folder / "checkpoint.safetensors")
    loaded.network.double()
    return loaded
