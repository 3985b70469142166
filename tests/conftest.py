"""What the tests share: real digits, the shipped model by itself, and the service that serves it."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from service.app import create_app
from service.manifest import Manifest, load_manifest
from service.settings import Settings
from tests.service.serving import DATA, MODELS, Process, process, serving


class Mnist(NamedTuple):
    """Digits, bright ink on black, (n, 28, 28), with their labels (n,), both uint8."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@pytest.fixture(scope="session", autouse=True)
def _own_settings() -> Iterator[None]:
    """Settings in the environment of whoever runs the tests change nothing in them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(f"DIGITSCOPE_{name.upper()}", raising=False)
        yield


@pytest.fixture(scope="session")
def mnist() -> Mnist:
    """MNIST's 10,000 test digits, read by NumPy alone: the header is 16 bytes of the images and 8 of the labels."""
    images, labels = (
        gzip.decompress((DATA / f"t10k-{kind}-ubyte.gz").read_bytes()) for kind in ("images-idx3", "labels-idx1")
    )
    return Mnist(
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)
    )


@pytest.fixture(scope="session")
def training_set() -> Mnist:
    """MNIST's 60,000 training digits, read so too, where MNIST_DIR has them: they are too large to be shipped."""
    folder = Path(os.environ.get("MNIST_DIR", ""))
    if not (folder / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("MNIST_DIR holds no training digits")
    images, labels = (
        gzip.decompress((folder / f"train-{kind}-ubyte.gz").read_bytes()) for kind in ("images-idx3", "labels-idx1")
    )
    return Mnist(
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)
    )


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The folder of the newest shipped version."""
    return max((MODELS / "digits").iterdir(), key=lambda folder: int(folder.name))


@pytest.fixture(scope="session")
def model_bytes(model_folder: Path) -> bytes:
    """The ONNX file that is shipped."""
    return (model_folder / "model.onnx").read_bytes()


@pytest.fixture(scope="session")
def manifest(model_folder: Path) -> Manifest:
    """Its manifest."""
    return load_manifest(model_folder)


@pytest.fixture(scope="session")
def plain(model_bytes: bytes) -> Any:
    """The ONNX file in plain ONNX Runtime, with none of the service's code about it."""
    return ort.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def reference(model_bytes: bytes) -> Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]:
    """Every tensor of the graph by name, for images (n, 1, 28, 28), by ONNX's own definition of the operators."""
    evaluator = ReferenceEvaluator(onnx.load_from_string(model_bytes))

    def evaluate(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        values: dict[str, NDArray[np.float32]] = evaluator.run(None, {"image": images}, intermediate=True)
        return values

    return evaluate


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """The application, on the CPU."""
    return create_app(Settings(models=MODELS, provider="cpu"))


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the application, which runs in this process."""
    with serving(app) as running:
        yield running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The service as a process of its own, with the default settings but for port, provider and the queue's patience.

    The tests ask for more than an instance is to take at once, on a machine that may have other things to do, and what
    is refused is another test's matter.
    """
    with process(tmp_path_factory.mktemp("server") / "log", "--provider", "cpu", "--max-wait", "60000") as running:
        yield running
