"""A faster variant of a model version: made, held to its promise by the engine that serves, and added to the version.

The promise: on every set of labelled digits that the version was judged by, the accuracy is within 0.02 points of
float32's, and of the test images at least 99.9 % get the same digit.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from service.engine import Engine
from service.errors import ModelError
from service.manifest import Faster, Manifest, Variant, load_manifest, load_model, save_manifest
from training.configuration import split_seed
from training.data import Mnist, split
from training.errors import PromiseError, ReleaseError
from training.evaluation import Evaluation, evaluate_model
from training.file import replace_file
from training.quantise import CALIBRATION, activations, quantise
from training.report import CARD_FILE, with_variants

INT8: Faster = "int8"
INT8_FILE = "model.int8.onnx"
ACCURACY_MARGIN = 0.0002  # 0.02 points
AGREEMENT = 0.999
_BATCH = 500  # images a run


def make_int8(
    model: bytes,
    manifest: Manifest,
    calibration: NDArray[np.uint8],
    images: NDArray[np.uint8],
    judged: Sequence[Evaluation],
) -> tuple[bytes, Variant]:
    """The int8 variant of a float32 file, verified on this machine's CPU.

    `calibration` are training images and `images` the test images, both uint8 (n, 1, 28, 28); `judged` is what the
    float32 file answers to the sets of labelled digits that it was judged by.

    Raises:
        PromiseError: it does not keep the promise.
        ReleaseError: it cannot be made, or the engine refuses it.
    """
    engine = Engine(model, manifest, provider="cpu")
    variant_model = quantise(model, activations(engine, calibration))
    unjudged = Variant(
        file=INT8_FILE,
        sha256=hashlib.sha256(variant_model).hexdigest(),
        metrics={},
        agreement=0,
        calibration=f"activations of {len(calibration):,} training digits",
        golden=_golden(variant_model, manifest),
    )
    promising = manifest.model_copy(update={"variants": {INT8: unjudged}})
    try:
        faster = Engine(model, promising, provider="cpu", variant=(INT8, variant_model))
    except ModelError as error:
        raise ReleaseError(f"the engine refuses the {INT8} variant: {error}") from error
    agreement = float((_read(faster, images) == _read(engine, images)).mean())
    if not agreement >= AGREEMENT:
        raise PromiseError(f"{agreement:.2%} of the test images get the digit of float32, not {AGREEMENT:.1%}")
    metrics: dict[str, float] = {}
    for before in judged:
        after = evaluate_model(faster, before.name, before.digits)
        # Counted in digits, so that no rounding decides.
        if abs(len(after.misread) - len(before.misread)) > ACCURACY_MARGIN * len(before.digits) + 1e-9:
            raise PromiseError(
                f"the {before.name} accuracy is {after.accuracy:.2%} and float32's {before.accuracy:.2%}, "
                f"more than {ACCURACY_MARGIN:.2%} apart"
            )
        metrics |= after.metrics()
    return variant_model, unjudged.model_copy(update={"metrics": metrics, "agreement": agreement})


def calibration_images(mnist: Mnist, seed: int, validation: int) -> NDArray[np.uint8]:
    """The first of the digits that trained the version, uint8 (n, 1, 28, 28); none is of validation.

    Raises:
        DataError: a data file is missing or damaged.
    """
    training, _ = split(mnist.training(), seed, validation)
    return training.images[:CALIBRATION]


def add_int8(folder: Path, mnist: Mnist) -> Variant:
    """Adds the int8 variant to a released version: file, card, and last the manifest.

    It is judged by the sets that the version's own figures are of, so the test labels are read only where they were.

    Raises:
        PromiseError: the variant does not keep the promise; the version stays as it was.
        ReleaseError: it cannot be made.
        ModelError: the folder has no verified version.
        DataError: a data file is missing or damaged.
    """
    manifest = load_manifest(folder)
    model = load_model(folder, manifest)
    seed, validation = split_seed(manifest.training), manifest.training["validation"]
    calibration = calibration_images(mnist, seed, validation)
    engine = Engine(model, manifest, provider="cpu")
    sets = {"validation": lambda: split(mnist.training(), seed, validation)[1], "test": mnist.test}
    known = {name for figures in manifest.metrics.values() for name in figures}
    judged = [evaluate_model(engine, name, read()) for name, read in sets.items() if f"{name}_accuracy" in known]
    content, variant = make_int8(model, manifest, calibration, mnist.test_images(), judged)
    manifest = manifest.model_copy(update={"variants": {**manifest.variants, INT8: variant}})
    replace_file(folder / INT8_FILE, content)
    card = folder / CARD_FILE
    replace_file(card, with_variants(card.read_text(encoding="utf-8"), manifest, folder).encode())
    save_manifest(manifest, folder)
    return variant


def _golden(model: bytes, manifest: Manifest) -> tuple[tuple[float, ...], ...]:
    """What ONNX's own definition of the operators gives for the golden images, so that no kernel is its own witness."""
    pixels = b"".join(digit.pixels() for digit in manifest.golden)
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)
    logits: NDArray[np.float32]
    (logits,) = ReferenceEvaluator(onnx.load_model_from_string(model)).run(["logits"], {manifest.input.name: images})
    return tuple(tuple(row) for row in logits.tolist())


def _read(engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The digit read in each image, (n,)."""
    starts = range(0, len(images), _BATCH)
    digits: NDArray[np.intp]
    digits = np.concatenate([engine.predict(images[start : start + _BATCH])[0] for start in starts]).argmax(axis=1)
    return digits
