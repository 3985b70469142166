"""A version's file of training digits: prototypes, and for each channel of a layer the digits that excite it most.

It is an NPZ file without pickle. Training makes it (`training.index`), and the manifest promises its SHA-256.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from service.errors import ModelError, UnknownError
from service.layer import Layer
from service.manifest import IndexFile, Manifest, read_promised

INDEX_FILE = "index.npz"
EXEMPLARS = 9
"""Digits for each channel."""

Rows = NDArray[np.uint16]
_TABLE = "exemplars."  # and the layer, as the file names it


@dataclass(frozen=True)
class Index:
    """Digits of MNIST's training set, each once and in its order there, and what they are kept for.

    `images` are uint8 (n, 28, 28), bright ink on black, `labels` uint8 (n,), and `indices` int32 (n,) their places in
    the set. `prototypes` (p,) and `exemplars`, by layer (channels, 9) with the most excited digit first, are rows of
    those three.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    indices: NDArray[np.int32]
    prototypes: Rows
    exemplars: Mapping[str, Rows]

    def to_bytes(self) -> bytes:
        """The file."""
        tables: dict[str, NDArray[Any]] = {f"{_TABLE}{layer}": rows for layer, rows in self.exemplars.items()}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            images=self.images,
            labels=self.labels,
            indices=self.indices,
            prototypes=self.prototypes,
            **tables,
        )
        return buffer.getvalue()


def index_file(manifest: Manifest) -> IndexFile:
    """What the manifest says of the index.

    Raises:
        UnknownError: the version has none.
    """
    if manifest.index is None:
        raise UnknownError(f"version {manifest.version} of {manifest.name} has no index of training digits")
    return manifest.index


def directions(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (n, units) at unit length, so that half the squared distance of two is 1 − their cosine; 0 stays 0."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    at_unit_length: NDArray[np.float32] = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    return at_unit_length


def load_index(directory: Path, manifest: Manifest) -> Index:
    """Reads and checks the index of a model version.

    Raises:
        UnknownError: the version has none.
        ModelError: its file cannot be read, is not the promised one, or is no index of this model.
    """
    promised = index_file(manifest)
    content = read_promised(directory / promised.file, promised.sha256, promised.file)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # NumPy and its decoders raise whatever a damaged file makes them raise
        raise ModelError(f"{promised.file} is no NPZ file that can be read without pickle") from error
    tables = {f"{_TABLE}{layer.name}": layer for layer in tabled_layers(manifest)}
    count = len(arrays["images"]) if "images" in arrays and arrays["images"].ndim else 0
    expected: dict[str, tuple[DTypeLike, tuple[int, ...]]] = {
        "images": (np.uint8, (count, *manifest.input.shape[2:])),
        "labels": (np.uint8, (count,)),
        "indices": (np.int32, (count,)),
        "prototypes": (np.uint16, (promised.prototypes,)),
        **{name: (np.uint16, (layer.shape[0], EXEMPLARS)) for name, layer in tables.items()},
    }
    for name, (dtype, shape) in expected.items():
        _require(arrays.get(name), np.dtype(dtype), shape, f"{promised.file} is no index of this model: {name}")
    largest = {"labels": len(manifest.labels), "prototypes": count, **dict.fromkeys(tables, count)}
    for name, limit in largest.items():
        if arrays[name].size and arrays[name].max() >= limit:
            raise ModelError(f"{promised.file} is no index of this model: {name} has a value beyond {limit - 1}")
    return Index(
        images=arrays["images"],
        labels=arrays["labels"],
        indices=arrays["indices"],
        prototypes=arrays["prototypes"],
        exemplars={layer.name: arrays[name] for name, layer in tables.items()},
    )


def tabled_layers(manifest: Manifest) -> list[Layer]:
    """The layers of which there are exemplars: those with weights that can be asked for."""
    return [layer for layer in manifest.features if layer.parameters]


def _require(values: NDArray[Any] | None, dtype: np.dtype[Any], shape: tuple[int, ...], what: str) -> None:
    if values is None:
        raise ModelError(f"{what} is missing")
    if values.dtype != dtype or values.shape != shape:
        found, right = (f"{kind} {size}" for kind, size in ((values.dtype, values.shape), (dtype, shape)))
        raise ModelError(f"{what} is {found}, not {right}")
