"""The contract between training and service, read, checked and written."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import ModelError
from service.layer import Layer
from service.manifest import (
    Golden,
    IndexFile,
    Manifest,
    Precision,
    Rejection,
    TensorSpec,
    Variant,
    load_manifest,
    load_model,
    save_manifest,
    versions,
)

IMAGE = base64.b64encode(bytes(784)).decode()


@pytest.fixture
def manifest() -> Manifest:
    """A manifest of a small model."""
    return Manifest(
        name="digits",
        version="3",
        created=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        sha256=hashlib.sha256(b"model").hexdigest(),
        input=TensorSpec(name="image", datatype="UINT8", shape=(-1, 1, 28, 28)),
        outputs=(TensorSpec(name="logits", datatype="FP32", shape=(-1, 10)),),
        layers=(
            Layer(name="conv1", operator="Conv", shape=(8, 28, 28), kernel=3, stride=1, padding=1),
            Layer(name="relu1", operator="Relu", shape=(8, 28, 28)),
            Layer(name="logits", operator="Gemm", shape=(10,), parameters=6010),
        ),
        labels=tuple("0123456789"),
        temperature=1.25,
        rejection=Rejection(evidence=-1.5, confidence=0.75),
        golden=(Golden(label=3, image=IMAGE, logits=tuple(n / 3 for n in range(10))),),
        training={"seed": 0, "distortion": {"shift": 1.5}},
        data={"train-images-idx3-ubyte": "ab" * 32},
        metrics={"seed 0": {"validation_accuracy": 0.9925}},
        libraries={"torch": "2.13.0"},
        variants={
            "int8": Variant(
                file="model.int8.onnx",
                sha256=hashlib.sha256(b"variant").hexdigest(),
                metrics={"validation_accuracy": 0.9923},
                agreement=0.9995,
                calibration="2,000 digits",
                golden=(tuple(n / 7 for n in range(10)),),
            )
        },
        index=IndexFile(
            file="index.npz",
            sha256=hashlib.sha256(b"index").hexdigest(),
            layer="relu1",
            metric="cosine",
            prototypes=30,
            selection="by chance",
            metrics={"distance": 0.125},
        ),
    )


def test_a_manifest_survives(manifest: Manifest, tmp_path: Path) -> None:
    """What was saved is loaded equal, digit for digit, and is plain JSON with a line's end."""
    save_manifest(manifest, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert load_manifest(tmp_path) == manifest
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    values = json.loads(text)
    assert (values["schema_version"], values["version"], values["layers"][0]["kernel"]) == (1, "3", 3)
    assert values["golden"][0]["logits"] == [n / 3 for n in range(10)]


def test_features_are_the_layers_that_are_no_output(manifest: Manifest) -> None:
    """In their order, and without the logits."""
    assert [layer.name for layer in manifest.features] == ["conv1", "relu1"]


def spoil(values: dict[str, Any], path: str, value: Any = None) -> None:
    """Sets, or without a value removes, a field by its path."""
    *where, last = path.split(".")
    inner: Any = values
    for name in where:
        inner = inner[int(name)] if name.isdigit() else inner[name]
    if last.isdigit():
        inner[int(last)] = value
    elif value is None:
        del inner[last]
    else:
        inner[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sha256", None),
        ("temperature", None),
        ("layers.0.shape", None),
        ("colour", "red"),
        ("layers.0.colour", "red"),
        ("schema_version", 2),
        ("version", "0"),
        ("version", "01"),
        ("version", "a"),
        ("sha256", "ab"),
        ("temperature", 0),
        ("golden", []),
        ("golden.0.label", 10),
        ("golden.0.logits", [0.0] * 9),
        ("layers.1.operator", "Tanh"),
        ("input.datatype", "FP64"),
        ("created", "yesterday"),
        ("variants.int8.file", "../model.int8.onnx"),
        ("variants.int8.file", "/model.int8.onnx"),
        ("variants.int8.file", ".model.onnx"),
        ("variants.int8.file", "model.int8.onnx\n"),
        ("variants.int8.sha256", "AB" * 32),
        ("variants.int8.agreement", 1.01),
        ("variants.int8.agreement", None),
        ("variants.int8.golden.0", [0.0] * 9),
        ("variants.int8.colour", "red"),
        ("variants", {"bf16": {}}),
        ("index.file", "../index.npz"),
        ("index.file", "index.npy"),
        ("index.sha256", "AB" * 32),
        ("index.metric", "euclidean"),
        ("index.prototypes", 0),
        ("index.layer", None),
        ("index.colour", "red"),
        ("rejection.confidence", 1.01),
        ("rejection.evidence", "much"),
        ("rejection.entropy", 0.5),
        ("rejection", None),
    ],
)
def test_a_field_that_breaks_the_contract_is_named(manifest: Manifest, tmp_path: Path, path: str, value: Any) -> None:
    """Missing, unknown, or of a value that must not be: one sentence has the file and the field's path."""
    values = json.loads(manifest.model_dump_json())
    spoil(values, path, value)
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(
        ModelError, match=rf"^{tmp_path}/manifest.json breaks the contract at {path}(\.bf16\.\[key\])?: [^\n]+$"
    ):
        load_manifest(tmp_path)


@pytest.mark.parametrize("answered", [0, 2])
def test_a_variant_answers_every_golden_image(manifest: Manifest, tmp_path: Path, answered: int) -> None:
    """Golden logits of fewer or more images than there are would leave some unchecked."""
    values = json.loads(manifest.model_dump_json())
    values["variants"]["int8"]["golden"] = [[0.0] * 10] * answered
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=f"int8 answers {answered} of 1 golden images$"):
        load_manifest(tmp_path)


def test_a_manifest_from_before_variants_is_read(manifest: Manifest, tmp_path: Path) -> None:
    """One without the field has none, and asking for one is told."""
    values = json.loads(manifest.model_dump_json())
    del values["variants"]
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    older = load_manifest(tmp_path)
    assert older == manifest.model_copy(update={"variants": {}})
    with pytest.raises(ModelError, match=r"^version 3 of digits has no int8 variant$"):
        load_model(tmp_path, older, "int8")


def test_a_manifest_from_before_indices_stays_as_it_was(manifest: Manifest, tmp_path: Path) -> None:
    """One without the field has none, and is saved without it, byte for byte."""
    older = manifest.model_copy(update={"index": None})
    save_manifest(older, tmp_path)
    content = (tmp_path / "manifest.json").read_bytes()
    assert b"index" not in content
    assert load_manifest(tmp_path) == older
    save_manifest(load_manifest(tmp_path), tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == content


def test_the_shipped_manifests_stay_as_they_are(model_folder: Path, tmp_path: Path) -> None:
    """Loaded and saved again, each is byte for byte the file that is shipped."""
    for folder in sorted(model_folder.parent.iterdir()):
        save_manifest(load_manifest(folder), tmp_path)
        assert (tmp_path / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


@pytest.mark.parametrize("layer", ["logits", "conv9"])
def test_an_index_is_of_a_layer_that_can_be_asked_for(manifest: Manifest, tmp_path: Path, layer: str) -> None:
    """Neighbours could not be found by another one's values."""
    values = json.loads(manifest.model_dump_json())
    values["index"]["layer"] = layer
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=f"the index is of layer {layer}, which cannot be asked for$"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ({}, Rejection(evidence=None, confidence=None)),
        ({"evidence": 3.5}, Rejection(evidence=3.5, confidence=None)),
        ({"confidence": 0.5, "evidence": None}, Rejection(evidence=None, confidence=0.5)),
    ],
)
def test_thresholds_may_be_wanting(
    manifest: Manifest, tmp_path: Path, thresholds: dict[str, Any], expected: Rejection
) -> None:
    """A manifest from before there were any is read, and one that has one of the two; each is saved as it came."""
    values = json.loads(manifest.model_dump_json())
    values["rejection"] = thresholds
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    found = load_manifest(tmp_path)
    assert found == manifest.model_copy(update={"rejection": expected})
    save_manifest(found, tmp_path)
    kept = {name: value for name, value in thresholds.items() if value is not None}
    assert json.loads((tmp_path / "manifest.json").read_text())["rejection"] == kept


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": "digits"', "\udcff"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    """Cut off, another document, or no text at all."""
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ModelError, match=r"manifest\.json breaks the contract at the document: [^\n]+$"):
        load_manifest(tmp_path)


def test_a_manifest_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(ModelError, match=rf"^{tmp_path}/manifest.json cannot be read: No such file or directory$"):
        load_manifest(tmp_path)


def test_a_manifest_is_frozen(manifest: Manifest) -> None:
    """Nobody changes the contract of a model that is loaded."""
    with pytest.raises(ValidationError):
        manifest.name = "other"


@settings(deadline=None, max_examples=20)
@given(st.binary(min_size=784, max_size=784))
def test_a_golden_image_holds_its_pixels(pixels: bytes) -> None:
    """Any 784 bytes come back from their base64."""
    assert Golden(label=0, image=base64.b64encode(pixels).decode(), logits=(0.0,) * 10).pixels() == pixels


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("?" + IMAGE[1:], "is not base64$"),
        ("é" + IMAGE[1:], "is not base64$"),
        (IMAGE[:-1], "is not base64$"),
        (base64.b64encode(bytes(783)).decode(), "has 783 bytes, not 784$"),
        ("", "has 0 bytes, not 784$"),
    ],
)
def test_a_golden_image_of_other_bytes_is_refused(image: str, message: str) -> None:
    """What is not base64, or not of 28×28 pixels, is told."""
    with pytest.raises(ModelError, match=message):
        Golden(label=0, image=image, logits=(0.0,) * 10).pixels()


def test_saving_replaces_in_one_step(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last byte of the new one is on the disk the old one is there whole, and a failure leaves it so."""
    save_manifest(manifest, tmp_path)
    newer = manifest.model_copy(update={"version": "4"})
    original: Callable[[int], None] = os.fsync

    def watch(file: int) -> None:
        assert load_manifest(tmp_path) == manifest
        assert (tmp_path / "manifest.json.partial").stat().st_size == len(newer.model_dump_json(indent=2)) + 1
        original(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", watch)
        save_manifest(newer, tmp_path)
    assert load_manifest(tmp_path) == newer

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            save_manifest(manifest, tmp_path)
    assert load_manifest(tmp_path) == newer


@pytest.mark.parametrize(
    ("precision", "file", "content"), [("fp32", "model.onnx", b"model"), ("int8", "model.int8.onnx", b"variant")]
)
def test_a_model_is_the_one_that_was_verified(
    manifest: Manifest, tmp_path: Path, precision: Precision, file: str, content: bytes
) -> None:
    """Its bytes are given where they have the manifest's hash, and otherwise one sentence has both hashes."""
    with pytest.raises(ModelError, match=rf"^{tmp_path}/{file} cannot be read: No such file or directory$"):
        load_model(tmp_path, manifest, precision)
    (tmp_path / file).write_bytes(content)
    assert load_model(tmp_path, manifest, precision) == content
    (tmp_path / file).write_bytes(b"modem")
    found, promised = (hashlib.sha256(some).hexdigest()[:12] for some in (b"modem", content))
    with pytest.raises(ModelError, match=f"has SHA-256 {found}…, but its manifest says {promised}…$"):
        load_model(tmp_path, manifest, precision)


def test_versions_are_the_folders_with_a_manifest_in_numerical_order(tmp_path: Path) -> None:
    """A folder without one, one still being written, and a name that is no version's are passed over."""
    for name in ("10", "9", "2", "01", "0", "²", "x", ".11.partial", "-3"):
        (tmp_path / "digits" / name).mkdir(parents=True)
        (tmp_path / "digits" / name / "manifest.json").touch()
    (tmp_path / "digits" / "12").mkdir()
    (tmp_path / "digits" / "13").mkdir()
    (tmp_path / "digits" / "13" / "manifest.json.partial").touch()
    assert versions(tmp_path, "digits") == [2, 9, 10]
    assert versions(tmp_path, "letters") == []
