"""The contract between training and service: what `manifest.json` beside an ONNX file promises.

A manifest is written last and atomically, after verification passed: that it exists means that its model is verified.
"""

import base64
import hashlib
import os
import re
import stat
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ModelError
from service.layer import Layer

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
Faster = Literal["int8"]  # the precisions of which a version may have a file beside the contract's own
Precision = Literal["fp32"] | Faster
NORMALISED = "normalised"
"""What every float32 file names the tensor that its first layer takes: the image less `mean`, over `std`.

Those two, and `<layer>.weight` and `<layer>.bias` of each layer that has them, are constants of the file.
"""
VERSION = "[1-9][0-9]{0,8}"
_LARGEST = 64 * 2**20  # bytes of a model or an index, several times those that are shipped
_LARGEST_MANIFEST = 2**20  # bytes
_SHA256 = "^[0-9a-f]{64}$"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(_Frozen):
    """A tensor of the graph: its name, Open Inference Protocol datatype, and shape with −1 for the batch axis."""

    name: str
    datatype: Literal["UINT8", "FP32"]
    shape: tuple[int, ...]


class Golden(_Frozen):
    """A digit with its known answer, asked before the model serves.

    `image` is base64 of 784 bytes (28×28 uint8, row by row); `logits` are the ten that float64 arithmetic gives.
    """

    label: int = Field(ge=0, le=9)
    image: str
    logits: tuple[float, ...] = Field(min_length=10, max_length=10)

    def pixels(self) -> bytes:
        """The image as 784 bytes, row by row.

        Raises:
            ModelError: it is not base64 of 784 bytes.
        """
        try:
            data = base64.b64decode(self.image, validate=True)
        except ValueError as error:
            raise ModelError("a golden image of the manifest is not base64") from error
        if len(data) != 784:
            raise ModelError(f"a golden image of the manifest has {len(data)} bytes, not 784")
        return data


class Variant(_Frozen):
    """A faster file of the same version, that reads (nearly) every digit as the float32 file does.

    It takes and gives the same tensors under the same names; its inner tensors are its own, so feature maps are always
    the float32 file's. `golden` holds its logits for each of the manifest's golden images, by ONNX's own definition of
    the operators.
    """

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$", description="its name, in the version's folder")
    sha256: str = Field(pattern=_SHA256, description="of that file")
    metrics: dict[str, float] = Field(description="each a figure by name, as those of float32")
    agreement: float = Field(ge=0, le=1, description="share of the test images that get the float32 file's digit")
    calibration: str = Field(description="what the ranges of its activations were taken from, in words")
    golden: tuple[Annotated[tuple[float, ...], Field(min_length=10, max_length=10)], ...]


def _is_none(value: object) -> bool:
    return value is None


class IndexFile(_Frozen):
    """A file of training digits: prototypes, among which a digit's neighbours are found, and each channel's exemplars.

    `service.inside.index` reads it. What it is for is looking inside, so a version without one serves all the same.
    """

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.npz$", description="its name, in the version's folder")
    sha256: str = Field(pattern=_SHA256, description="of that file")
    layer: str = Field(description="in whose values neighbours are near")
    metric: Literal["cosine"] = Field(description="by which they are: 1 − the cosine of the angle between the values")
    prototypes: int = Field(ge=1, description="how many there are")
    selection: str = Field(description="how they were chosen, in words")
    metrics: dict[str, float] = Field(description="each a figure by name, of the validation digits")


class Rejection(_Frozen):
    """The thresholds below which an answer is rejected, from validation; without one, nothing is for that reason."""

    evidence: float | None = Field(
        default=None,
        exclude_if=_is_none,
        allow_inf_nan=False,
        description="log Σ exp of the ten logits times the temperature: the log-odds of being a digit",
    )
    confidence: float | None = Field(
        default=None, exclude_if=_is_none, ge=0, le=1, description="the largest of the ten probabilities"
    )


class Manifest(_Frozen):
    """The contract's data about one version of one model."""

    schema_version: Literal[1] = 1
    name: str
    version: str = Field(pattern=f"^{VERSION}$")
    created: datetime
    sha256: str = Field(pattern=_SHA256, description="of the ONNX file")
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...] = Field(description="in the order of computation; the last one gives the logits")
    labels: tuple[str, ...]
    temperature: float = Field(gt=0, description="divided into the weights and bias of the last layer")
    rejection: Rejection
    golden: tuple[Golden, ...] = Field(min_length=1)
    training: dict[str, Any] = Field(description="the whole configuration of the training run")
    data: dict[str, str] = Field(description="SHA-256 of each decompressed data file that was read")
    metrics: dict[str, dict[str, float]] = Field(description="by 'seed N', each a figure by name")
    libraries: dict[str, str] = Field(description="versions that made the model")
    variants: dict[Faster, Variant] = Field(default={}, description="faster files of this version, by precision")
    index: IndexFile | None = Field(default=None, exclude_if=_is_none, description="its file of training digits")

    @model_validator(mode="after")
    def _golden_of_variants(self) -> Self:
        for precision, variant in self.variants.items():
            if len(variant.golden) != len(self.golden):
                raise ValueError(f"{precision} answers {len(variant.golden)} of {len(self.golden)} golden images")
        return self

    @model_validator(mode="after")
    def _layer_of_index(self) -> Self:
        if self.index and self.index.layer not in {layer.name for layer in self.features}:
            raise ValueError(f"the index is of layer {self.index.layer}, which cannot be asked for")
        return self

    def __hash__(self) -> int:
        """By the ONNX file, which no two versions share."""
        return hash(self.sha256)

    @property
    def features(self) -> tuple[Layer, ...]:
        """The layers that can be asked for by name beside the outputs, in order."""
        outputs = {output.name for output in self.outputs}
        return tuple(layer for layer in self.layers if layer.name not in outputs)


def load_manifest(directory: Path) -> Manifest:
    """Reads and checks `manifest.json` of one model version.

    Raises:
        ModelError: there is none, or it is too large or breaks the contract.
    """
    path = directory / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(_read(path, str(path), _LARGEST_MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ModelError(f"{path} breaks the contract at {where}: {first['msg']}") from error


def save_manifest(manifest: Manifest, directory: Path) -> None:
    """Writes `manifest.json` in one step, so that a half-written one is never seen.

    Raises:
        OSError: the directory cannot be written to.
    """
    partial = directory / f"{MANIFEST_FILE}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(directory / MANIFEST_FILE)


def load_model(directory: Path, manifest: Manifest, precision: Precision = "fp32") -> bytes:
    """The bytes of the ONNX file of that precision, checked against the manifest's SHA-256.

    Raises:
        ModelError: the version has no such file, or it cannot be read, or is not the one that was verified.
    """
    file, promised = MODEL_FILE, manifest.sha256
    if precision != "fp32":
        variant = manifest.variants.get(precision)
        if variant is None:
            raise ModelError(f"version {manifest.version} of {manifest.name} has no {precision} variant")
        file, promised = variant.file, variant.sha256
    path = directory / file
    return read_promised(path, promised, str(path))


def read_promised(path: Path, sha256: str, name: str) -> bytes:
    """The bytes of a file that a manifest promises; messages call it `name`.

    Raises:
        ModelError: it cannot be read, is too large, or has another SHA-256.
    """
    content = _read(path, name, _LARGEST)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(f"{name} has SHA-256 {digest[:12]}…, but its manifest says {sha256[:12]}…")
    return content


def _read(path: Path, name: str, most: int) -> bytes:
    try:
        # Without waiting: a pipe of that name would never be opened.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ModelError(f"{name} is no file")
            content = file.read(most + 1)
    except OSError as error:
        raise ModelError(f"{name} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise ModelError(f"{name} is larger than the {most:,} bytes that are read")
    return content


def versions(models: Path, name: str) -> list[int]:
    """The verified versions of a model under a models root, in ascending order."""
    return sorted(
        int(version) for version in folders(models, name) if (models / name / version / MANIFEST_FILE).is_file()
    )


def folders(models: Path, name: str) -> list[str]:
    """The names of the folders of a model's versions under a models root, verified or not, in no order."""
    return [path.name for path in (models / name).glob("*") if re.fullmatch(VERSION, path.name)]
