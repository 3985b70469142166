"""What the tests of the training package share: real digits, a network with random weights, a small data set."""

import gzip
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from service.manifest import Manifest, Rejection
from tests.training.mirror import Mirror
from training import robustness
from training.checkpoint import Checkpoint
from training.configuration import Configuration
from training.data import Digits, Mnist
from training.export import INPUT, OUTPUTS, export
from training.fold import fold
from training.model import ARCHITECTURE, DigitNet
from training.release import _golden

DATA = Path(__file__).parents[1] / "data"
Made = TypeVar("Made")


def idx(values: NDArray[np.uint8]) -> bytes:
    """An IDX document, written from the format's description."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def randomise(network: DigitNet, seed: int) -> DigitNet:
    """Random BatchNorm statistics and affine parameters, such as a long training might end with."""
    generator = torch.Generator().manual_seed(seed)
    for norm in (network.norm1, network.norm2):
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            norm.weight.uniform_(-1.5, 1.5, generator=generator)
            norm.bias.normal_(generator=generator)
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(0.2, 3, generator=generator)
    return network


def make_manifest(network: DigitNet, temperature: float, digits: Digits) -> tuple[bytes, Manifest]:
    """The exported model of a network with a manifest that promises just that."""
    folded = fold(network, temperature)
    model = export(folded, {"name": "digits"})
    return model, Manifest(
        name="digits",
        version="1",
        created="2026-01-01T00:00:00Z",  # type: ignore[arg-type]  # pydantic parses it
        sha256=hashlib.sha256(model).hexdigest(),
        input=INPUT,
        outputs=OUTPUTS,
        layers=ARCHITECTURE,
        labels=tuple("0123456789"),
        temperature=temperature,
        rejection=Rejection(),
        golden=_golden(folded, digits),
        training={},
        data={},
        metrics={},
        libraries={},
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Lets PyTorch compute in one thread: for such small batches two only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _sets_made_once() -> Iterator[None]:
    """Makes the sets that models are judged by once for the same digits: they are the same each time, and take seconds.

    What tests of their making ask for is made by the functions themselves, which they import by name.
    """
    with pytest.MonkeyPatch.context() as patch:
        for make in (robustness.corrupted_digits, robustness.non_digits):
            patch.setattr(robustness, make.__name__, _kept(make))
        yield


def _kept(make: Callable[[Digits, str], Made]) -> Callable[[Digits, str], Made]:
    found: dict[tuple[bytes, bytes, str], Made] = {}

    def kept(digits: Digits, kind: str) -> Made:
        key = digits.images.tobytes(), digits.labels.tobytes(), kind
        if key not in found:
            found[key] = make(digits, kind)
        return found[key]

    return kept


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The 10,000 test digits, real ones."""
    return Mnist(DATA).test().take(np.arange(10_000))  # a copy, as `split` makes: PyTorch warns of arrays read-only


@pytest.fixture
def network() -> DigitNet:
    """A network with random weights in eval mode."""
    torch.manual_seed(3)
    return randomise(DigitNet(33.3, 78.6), 3).eval()


@pytest.fixture
def checkpoint(network: DigitNet) -> Checkpoint:
    """That network as if 200 digits had trained it."""
    return Checkpoint(
        network,
        Configuration(seed=4, validation=100, averaging=0.95),
        temperature=1.25,
        digits=200,
        metrics={"validation_loss": 2.5, "validation_accuracy": 0.125},
        data={"train-images-idx3-ubyte": "ab" * 32},
    )


@pytest.fixture
def small(tmp_path: Path, digits: Digits) -> Callable[..., Mnist]:
    """Makes `Mnist` of a folder of its own with 300 digits to train on and 40 to test, all real."""
    directory = tmp_path / "mnist"
    directory.mkdir()
    parts = {"train": digits.take(slice(300)), "t10k": digits.take(slice(300, 340))}
    sha256 = {}
    for part, some in parts.items():
        documents = {"images-idx3": idx(some.images[:, 0]), "labels-idx1": idx(some.labels)}
        for kind, document in documents.items():
            name = f"{part}-{kind}-ubyte"
            (directory / f"{name}.gz").write_bytes(gzip.compress(document))
            sha256[name] = hashlib.sha256(document).hexdigest()
    return partial(Mnist, directory, sha256=sha256)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """The mirror, running for one test."""
    with Mirror() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the pictures of a release empty: drawing them takes longer than all the rest."""
    for name in ("draw_confusion", "draw_misread", "draw_reliability"):
        monkeypatch.setattr(f"training.release.{name}", lambda _, path: path.touch())
    monkeypatch.setattr("training.__main__.draw_curves", lambda _, path: path.touch())
