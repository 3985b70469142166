"""The contract between training and service: what `manifest.json` beside an ONNX file promises.

A manifest is written last and atomically, after verification passed: that it exists means that its model is verified.
"""

import base64
import hashlib
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ModelError
from service.layer import Layer

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
_VERSION = "[1-9][0-9]*"


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


class Manifest(_Frozen):
    """The contract's data about one version of one model."""

    schema_version: Literal[1] = 1
    name: str
    version: str = Field(pattern=f"^{_VERSION}$")
    created: datetime
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the ONNX file")
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...] = Field(description="in the order of computation; the last one gives the logits")
    labels: tuple[str, ...]
    temperature: float = Field(gt=0, description="divided into the weights and bias of the last layer")
    rejection: dict[str, float] = Field(description="thresholds by name, from validation")
    golden: tuple[Golden, ...] = Field(min_length=1)
    training: dict[str, Any] = Field(description="the whole configuration of the training run")
    data: dict[str, str] = Field(description="SHA-256 of each decompressed data file that was read")
    metrics: dict[str, dict[str, float]] = Field(description="by 'seed N', each a figure by name")
    libraries: dict[str, str] = Field(description="versions that made the model")

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
        ModelError: there is none, or it breaks the contract.
    """
    path = directory / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
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


def load_model(directory: Path, manifest: Manifest) -> bytes:
    """The bytes of the ONNX file, checked against the manifest's SHA-256.

    Raises:
        ModelError: the file cannot be read, or is not the one that was verified.
    """
    path = directory / MODEL_FILE
    try:
        model = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(model).hexdigest()
    if digest != manifest.sha256:
        raise ModelError(f"{path} has SHA-256 {digest[:12]}…, but its manifest says {manifest.sha256[:12]}…")
    return model


def versions(models: Path, name: str) -> list[int]:
    """The verified versions of a model under a models root, in ascending order."""
    return sorted(
        int(path.parent.name)
        for path in (models / name).glob(f"*/{MANIFEST_FILE}")
        if re.fullmatch(_VERSION, path.parent.name)
    )
