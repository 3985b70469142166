"""A new model version: exported, verified, described, and only then there for anybody to serve."""

import base64
import dataclasses
import hashlib
import importlib.metadata
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from service.engine import Engine, Provider
from service.manifest import MODEL_FILE, Golden, Manifest, Rejection, save_manifest
from training.checkpoint import Checkpoint, save_checkpoint
from training.data import Digits, Mnist, split
from training.errors import PromiseError, ReleaseError
from training.evaluation import evaluate_model
from training.export import INPUT, OUTPUTS, export
from training.fold import fold
from training.model import ARCHITECTURE, DigitNet, predict
from training.report import CARD_FILE, draw_confusion, draw_misread, write_card
from training.variant import INT8, INT8_FILE, calibration_images, make_int8
from training.verify import verify

DEFAULT_ROOT = Path("models")
NAME = "digits"
CHECKPOINT_FILE = "checkpoint.safetensors"
MINIMUM_ACCURACY = 0.99  # on validation, for the default root
_LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy")


def release(
    checkpoint: Checkpoint,
    mnist: Mnist,
    root: Path,
    *,
    final: bool,
    provider: Provider = "auto",
    rejection: Rejection | None = None,
) -> Path:
    """Makes the next version under `root` from a checkpoint; returns its folder. `final` reads the test labels.

    `rejection` are its thresholds; without them nothing is rejected by what the network answers.

    It has an int8 variant where that keeps its promise, and else a card that says why there is none.

    Raises:
        ReleaseError: the model falls short of the default root's bar, or is not verified.
        DataError: a data file is missing or damaged.
    """
    if root.resolve() == DEFAULT_ROOT.resolve():
        _require_worthy(checkpoint)
    versions = root / NAME
    taken = [int(path.name) for path in versions.glob("[0-9]*") if path.name.isdigit()]
    version = str(max(taken, default=0) + 1)
    seed_and_size = checkpoint.configuration.seed, checkpoint.configuration.validation
    _, validation = split(mnist.training(), *seed_and_size)
    folded = fold(checkpoint.network, checkpoint.temperature)
    seed = f"seed {checkpoint.configuration.seed}"
    model = export(folded, {"name": NAME, "version": version, "training": checkpoint.configuration.to_json()})
    manifest = Manifest(
        name=NAME,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        sha256=hashlib.sha256(model).hexdigest(),
        input=INPUT,
        outputs=OUTPUTS,
        layers=ARCHITECTURE,
        labels=tuple(map(str, range(10))),
        temperature=checkpoint.temperature,
        rejection=rejection or Rejection(),
        golden=_golden(folded, validation),
        training=dataclasses.asdict(checkpoint.configuration) | {"digits": checkpoint.digits},
        data=checkpoint.data,
        metrics={seed: checkpoint.metrics},
        libraries=_library_versions(),
    )
    deviations = verify(checkpoint.network, checkpoint.temperature, model, manifest, mnist.test_images(), provider)
    engine = Engine(model, manifest, provider=provider)
    evaluations = [evaluate_model(engine, "validation", validation)]
    if final:
        evaluations.append(evaluate_model(engine, "test", mnist.test()))
    figures = {name: value for evaluation in evaluations for name, value in evaluation.metrics().items()}
    manifest = manifest.model_copy(update={"metrics": {seed: figures}, "data": dict(mnist.hashes)})
    refused, files = "", {MODEL_FILE: model}
    try:
        calibration = calibration_images(mnist, *seed_and_size)
        files[INT8_FILE], int8 = make_int8(model, manifest, calibration, mnist.test_images(), evaluations)
        manifest = manifest.model_copy(update={"variants": {INT8: int8}})
    except PromiseError as error:
        refused = f"in {INT8}, {error}"

    staging = versions / f".{version}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name, content in files.items():
        (staging / name).write_bytes(content)
    save_checkpoint(checkpoint, staging / CHECKPOINT_FILE)
    draw_confusion(evaluations[-1], staging / "confusion.png")
    draw_misread(evaluations[-1], staging / "misread.png")
    write_card(manifest, evaluations, deviations, staging / CARD_FILE, refused)
    save_manifest(manifest, staging)
    return staging.rename(versions / version)


def require_default_root_unlimited(root: Path, limit: int) -> None:
    """Refuses a trial run the default root, before it costs any time.

    Raises:
        ReleaseError: the run has a limit and would end in the default root.
    """
    if limit and root.resolve() == DEFAULT_ROOT.resolve():
        raise ReleaseError("a model of a limited number of digits does not go into models/; name another root by --out")


def _require_worthy(checkpoint: Checkpoint) -> None:
    require_default_root_unlimited(DEFAULT_ROOT, checkpoint.configuration.limit)
    accuracy = checkpoint.metrics["validation_accuracy"]
    if not accuracy >= MINIMUM_ACCURACY:  # and not `<`: a NaN must fail too
        raise ReleaseError(
            f"a validation accuracy of {accuracy:.2%} is below the {MINIMUM_ACCURACY:.0%} that models/ asks for; "
            "train for longer, or name another root by --out"
        )


def _golden(folded: DigitNet, validation: Digits) -> tuple[Golden, ...]:
    """The first validation digit of each label, with the logits of float64 arithmetic."""
    golden = []
    for label in np.unique(validation.labels):
        image = validation.images[int(np.argmax(validation.labels == label))]
        logits = predict(folded, torch.from_numpy(image[None]))[0].tolist()
        golden.append(Golden(label=int(label), image=base64.b64encode(image.tobytes()).decode(), logits=tuple(logits)))
    return tuple(golden)


def _library_versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # one of the two runtimes is never there
            continue
    return found
