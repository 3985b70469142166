"""Versions made by script out of a shipped one: good ones, each with answers of its own, and broken ones of every kind.

A good version is the shipped network with another bias for one digit, so its logits tell it from all others, and what
they must be is known without asking it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.digits import digits, model_folder
from service.engine import Engine
from service.manifest import MANIFEST_FILE, MODEL_FILE, load_manifest, load_model

_TOO_LARGE = 2**26 + 1  # bytes
_SIZE_28, _SIZE_27 = b"\x0a\x02\x08\x1c", b"\x0a\x02\x08\x1b"  # a TensorShapeProto's axis of that size
_RELU, _TANH = b"\x22\x04Relu", b"\x22\x04Tanh"  # a NodeProto's operator


class Candidates:
    """Makes versions in a folder of models of its own.

    Attributes:
        images: the digits whose answers are known, uint8 (n, 28, 28).
    """

    def __init__(self, models: Path, count: int = 16) -> None:
        source = model_folder()
        manifest = load_manifest(source)
        self._model = load_model(source, manifest)
        self._described: dict[str, Any] = json.loads((source / MANIFEST_FILE).read_text(encoding="utf-8"))
        self._described |= {"variants": {}}
        self._described.pop("index", None)
        self._models = models / manifest.name
        engine = Engine(self._model, manifest, provider="cpu", threads=1)
        self._bias = engine.parameters[f"{manifest.layers[-1].name}.bias"]
        self.images = digits(count)
        self._logits, _ = engine.predict(self.images[:, None])

    def logits(self, version: int) -> NDArray[np.float64]:
        """What a good version answers to the images, float64 (n, 10)."""
        return self._logits + _shift(version)

    def folder(self, version: int) -> Path:
        """The folder of a version."""
        return self._models / str(version)

    def make(self, version: int, broken: str = "") -> Path:
        """Makes a good version, or one that is broken in one of the ways in `KINDS`; returns its folder."""
        folder = self.folder(version)
        bias = self._bias.tobytes()
        if self._model.count(bias) != 1:
            raise ValueError("the bias of the last layer is not found once in the file")
        content = self._model.replace(bias, (self._bias + _shift(version)).astype("<f4").tobytes())
        described = json.loads(json.dumps(self._described)) | {"version": str(version)}
        for golden in described["golden"]:
            golden["logits"] = (np.array(golden["logits"]) + _shift(version)).tolist()
        # What is broken is never seen whole, as a version that is good is never seen in part.
        partial = self._models / f".{version}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(partial, content, described)
        if broken:
            KINDS[broken](partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        return folder


def _shift(version: int) -> NDArray[np.float64]:
    shift = np.zeros(10)
    shift[version % 10] = 0.25 + version / 100
    return shift


def _write(folder: Path, content: bytes, described: Mapping[str, Any]) -> None:
    (folder / MODEL_FILE).write_bytes(content)
    described = {**described, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / MANIFEST_FILE).write_text(json.dumps(described), encoding="utf-8")


def _described(folder: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    return described


def _replaced(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Has other bytes in the file, which the manifest promises: only what they mean is wrong."""

    def change(folder: Path) -> None:
        content = (folder / MODEL_FILE).read_bytes()
        _write(folder, new.join(content.rsplit(old, 1)), _described(folder))

    return change


def _flip(folder: Path) -> None:
    content = bytearray((folder / MODEL_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(content)


def _mislead(folder: Path) -> None:
    described = _described(folder)
    described["golden"][0]["logits"][3] += 1.0
    (folder / MANIFEST_FILE).write_text(json.dumps(described), encoding="utf-8")


KINDS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "flipped byte": _flip,
        "missing manifest": lambda folder: (folder / MANIFEST_FILE).unlink(),
        "wrong shapes": _replaced(_SIZE_28, _SIZE_27),
        "other operator": _replaced(_RELU, _TANH),
        "too large": lambda folder: os.truncate(folder / MODEL_FILE, _TOO_LARGE),
        "golden inputs wrong": _mislead,
    }
)
"""What breaks a version, by name."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "flipped byte": "has SHA-256",
        "missing manifest": "manifest.json cannot be read",
        "wrong shapes": "takes 'image' as something else",
        "other operator": "has the operator Tanh",
        "too large": "is larger than",
        "golden inputs wrong": "the golden inputs are answered wrong",
    }
)
"""A part of what the service is to say of each."""
