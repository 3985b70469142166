"""Has groups answered in this machine's own processes, by the model's file and the service's own preparation.

This is the one module of the client that imports the service: what its pictures go through is to be the very same.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from client.asynchronous import Preprocess
from client.errors import RunError
from client.prediction import Model, Prediction
from client.remote import Answer, Kind
from service.cpus import available_cpus
from service.engine import Engine
from service.errors import DigitscopeError, RequestError
from service.image import as_images, read_picture
from service.manifest import load_manifest, load_model, versions
from service.prediction import Run
from service.rejection import Gates

_MAX_PIXELS = 4096 * 4096  # of a picture, as the service has it by default
_RUN = 64  # images of one run: a cache's worth


class Digit(NamedTuple):
    """A prepared digit: its 784 bytes, and why it is better not taken for one, where its preparation noticed."""

    pixels: bytes
    reason: str | None


class _Work(NamedTuple):
    """What the workers are to do with all that they are handed."""

    folder: Path
    preprocess: Preprocess
    layer: str | None


def newest(models: Path, name: str = "digits") -> Path:
    """The folder of the newest version of a model.

    Raises:
        RunError: there is none.
    """
    found = versions(models, name)
    if not found:
        raise RunError(f"there is no model in {models / name}: --model names the folder of one")
    return models / name / str(found[-1])


def cpus() -> int:
    """How many CPUs this process may use, by its affinity and its control group."""
    return available_cpus()


def chosen(path: Path) -> Path:
    """The folder of the version that a path names: its own, or that of the newest in a folder of models.

    Raises:
        RunError: there is none.
    """
    return path if (path / "manifest.json").exists() else newest(path)


def read_model(folder: Path) -> Model:
    """Which model a version's folder holds; its file is what the manifest says.

    Raises:
        RunError: there is no such model.
    """
    try:
        manifest = load_manifest(folder)
        load_model(folder, manifest)
    except DigitscopeError as error:
        raise RunError(str(error)) from error
    layers = {layer.name: tuple(layer.shape) for layer in manifest.layers}
    return Model(manifest.name, manifest.version, manifest.sha256, layers)


class Local:
    """A pool of processes, one for each CPU that may be used, each with the model open on one thread.

    Attributes:
        model: which it is.
    """

    def __init__(
        self, folder: Path, *, preprocess: Preprocess = "mnist", layer: str | None = None, processes: int = 0
    ) -> None:
        """`folder` is that of one version; `layer` the one whose values are wanted too.

        Raises:
            RunError: there is no such model.
        """
        self.model = read_model(folder)
        self._work = _Work(folder, preprocess, layer)
        self._pool = ProcessPoolExecutor(
            processes or available_cpus(),
            mp_context=multiprocessing.get_context("spawn"),  # a fork would take the event loop's threads with it
            initializer=_begin,
            initargs=(folder,),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def answer(self, kind: Kind, data: Sequence[bytes]) -> list[Answer]:
        """An answer to each.

        Raises:
            RunError: a process of the pool died, or the engine failed.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, _answer, self._work, kind, list(data))
        except BrokenProcessPool as error:
            raise RunError("a process of the pool died, perhaps for want of memory") from error
        except DigitscopeError as error:
            raise RunError(str(error)) from error


def _begin(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who is asked to end is the parent
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_it() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_it, daemon=True).start()
    _open(folder)


@cache
def _open(folder: Path) -> tuple[Engine, Gates]:
    manifest = load_manifest(folder)
    return Engine(load_model(folder, manifest), manifest, provider="cpu", threads=1), Gates(manifest)


def _answer(work: _Work, kind: Kind, data: list[bytes]) -> list[Answer]:
    """What the pool's processes do."""
    return predicted(work.folder, prepared(kind, data, work.preprocess), work.layer)


def prepared(kind: Kind, data: Sequence[bytes], preprocess: Preprocess = "mnist") -> list[Digit | str]:
    """The digit of each picture as the network is to see it, or the sentence that says why there is none."""
    if kind == "digit":
        return [Digit(pixels, None) for pixels in data]
    return [_prepare(picture, preprocess) for picture in data]


def _prepare(picture: bytes, preprocess: Preprocess) -> Digit | str:
    try:
        digit, reason = read_picture(picture, preprocess, _MAX_PIXELS)
    except RequestError as error:
        return str(error)
    return Digit(digit.tobytes(), reason)


def predicted(folder: Path, digits: Sequence[Digit | str], layer: str | None = None) -> list[Answer]:
    """The prediction of each digit by the model in a version's folder; a sentence stays what it is.

    Raises:
        DigitscopeError: the engine failed.
    """
    whole = [digit for digit in digits if isinstance(digit, Digit)]
    predictions: list[Prediction] = []
    for start in range(0, len(whole), _RUN):
        predictions += _predict(folder, whole[start : start + _RUN], layer)
    found = iter(predictions)
    return [digit if isinstance(digit, str) else next(found) for digit in digits]


def _predict(folder: Path, digits: Sequence[Digit], layer: str | None) -> list[Prediction]:
    engine, gates = _open(folder)
    images = as_images(b"".join(digit.pixels for digit in digits))
    run = Run(*engine.predict(images))
    noted = [digit.reason for digit in digits]
    reasons = gates.reasons(images, run.logits, run.largest, run.confidences, noted if any(noted) else ())
    layers = None if layer is None else engine.inspect(images, [layer])[layer]
    rows = zip(
        run.digits.tolist(),
        run.confidences.tolist(),
        reasons or [None] * len(images),
        map(tuple, run.probabilities.tolist()),
        layers if layers is not None else [None] * len(images),
        strict=True,
    )
    return [
        Prediction(digit, confidence, reason is not None, reason, probabilities, values)
        for digit, confidence, reason, probabilities, values in rows
    ]
