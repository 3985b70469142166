"""Without a service: the same answers, in processes of this machine's own."""

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI

from client.errors import RunError
from client.local import Local, newest
from client.remote import Answer, Kind
from tests.client.test_asynchronous import ask
from tests.conftest import Mnist
from tests.service.asgi import finish
from tests.service.pictures import encode
from tests.service.serving import MODELS, VERSION


@pytest.fixture(scope="module")
def folder() -> Path:
    """The newest version's."""
    return newest(MODELS)


def answers(folder: Path, asked: Sequence[tuple[Kind, Sequence[bytes]]], layer: str | None = None) -> list[Answer]:
    """What a pool of one process answers to groups."""

    async def work() -> list[Answer]:
        with Local(folder, layer=layer, processes=1) as local:
            assert local.model.version == VERSION
            return [answer for kind, data in asked for answer in await local.answer(kind, data)]

    return finish(work())


def test_answers_are_those_of_the_service(app: FastAPI, folder: Path, mnist: Mnist) -> None:
    """Digits, pictures, a blank one and a bad one: each value and each sentence is that of the service."""
    images = mnist.images[:100]
    pictures = [encode(255 - image) for image in images[:40]] + [encode(np.zeros((40, 40), np.uint8))]
    found = answers(folder, [("digit", [image.tobytes() for image in images]), ("picture", [*pictures, b"bad"])])
    expected = [
        *ask(app, lambda client: client.predict_digits(images)),
        *ask(app, lambda client: client.predict(pictures)),
    ]
    for mine, theirs in zip(found, expected, strict=False):
        assert not isinstance(mine, str) and mine[:1] + mine[2:4] == theirs[:1] + theirs[2:4]
        assert np.allclose(mine.probabilities, theirs.probabilities, atol=1e-6)
    assert len(found) == 142 and str(found[-1]).startswith("this is no picture")


def test_layers_are_those_of_the_service(app: FastAPI, folder: Path, mnist: Mnist) -> None:
    """The values of a layer, for prepared digits."""
    found = answers(folder, [("digit", [image.tobytes() for image in mnist.images[:5]])], layer="fc1")
    expected = ask(app, lambda client: client.features(mnist.images[:5], "fc1"))
    values = [each.features for each in found if not isinstance(each, str)]
    assert np.allclose(np.array(values), expected, atol=1e-5)


def test_a_process_that_dies_ends_the_run(folder: Path, mnist: Mnist) -> None:
    """The pool cannot go on without it, and says so."""

    async def work() -> None:
        with Local(folder, processes=1) as local:
            await local.answer("digit", [mnist.images[0].tobytes()])
            for process in local._pool._processes:
                os.kill(process, signal.SIGKILL)
            await local.answer("digit", [mnist.images[0].tobytes()])

    with pytest.raises(RunError, match="a process of the pool died"):
        finish(work())


def test_a_folder_without_a_model(tmp_path: Path, folder: Path) -> None:
    """No model, and one that is not what its manifest promises, are told before anything begins."""
    with pytest.raises(RunError, match="there is no model in"):
        newest(tmp_path)
    shutil.copy(folder / "manifest.json", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(RunError, match="SHA-256"):
        Local(tmp_path)
