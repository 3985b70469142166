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
        try:
            manifest = load_manifest(folder)
            load_model(folder, manifest)
        except DigitscopeError as error:
            raise RunError(str(error)) from error
        layers = {layer.name: tuple(layer.shape) for layer in manifest.layers}
        self.model = Model(manifest.name, manifest.version, manifest.sha256, layers)
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
    if kind == "digit":
        found: list[Answer] = []
        for start in range(0, len(data), _RUN):
            part = data[start : start + _RUN]
            found += _predict(work, part, [None] * len(part))
        return found
    answers: list[Answer] = []
    digits, reasons = [], []
    for picture in data:
        try:
            digit, reason = read_picture(picture, work.preprocess, _MAX_PIXELS)
        except RequestError as error:
            answers.append(str(error))
        else:
            answers.append("")  # its prediction's place
            digits.append(digit.tobytes())
            reasons.append(reason)
    predictions = iter(_predict(work, digits, reasons) if digits else ())
    return [answer or next(predictions) for answer in answers]


def _predict(work: _Work, digits: list[bytes], noted: Sequence[str | None]) -> list[Prediction]:
    engine, gates = _open(work.folder)
    images = as_images(b"".join(digits))
    run = Run(*engine.predict(images))
    reasons = gates.reasons(images, run.logits, run.largest, run.confidences, noted if any(noted) else ())
    layers = None if work.layer is None else engine.inspect(images, [work.layer])[work.layer]
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
