"""A new model version: exported, verified, described, and only then there for anybody to serve."""

import base64
import dataclasses
import hashlib
import importlib.metadata
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from service.engine import Provider
from service.inside.index import INDEX_FILE
from service.manifest import MODEL_FILE, Golden, Manifest, Rejection, save_manifest
from service.rejection import evidence
from training.calibrate import fit_rejection
from training.checkpoint import Checkpoint, save_checkpoint
from training.data import Digits, Mnist, split
from training.errors import PromiseError, ReleaseError
from training.evaluation import Evaluation, answers
from training.export import INPUT, OUTPUTS, export
from training.fold import fold
from training.index import index_of
from training.model import ARCHITECTURE, DigitNet, predict
from training.report import CARD_FILE, draw_confusion, draw_misread, draw_reliability, write_card
from training.robustness import Robustness, judge
from training.variant import INT8, INT8_FILE, calibration_images, make_int8
from training.verify import opened, verify

DEFAULT_ROOT = Path("models")
NAME = "digits"
CHECKPOINT_FILE = "checkpoint.safetensors"
MINIMUM_ACCURACY = 0.99  # on validation, for the default root
_LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A checkpoint as it would be served, and how well it reads."""

    checkpoint: Checkpoint
    model: bytes
    manifest: Manifest
    evaluations: list[Evaluation]
    robustness: Robustness


def release(
    checkpoints: Sequence[Checkpoint], mnist: Mnist, root: Path, *, final: bool, provider: Provider = "auto"
) -> Path:
    """Makes the next version under `root` from a checkpoint; returns its folder. `final` reads the test labels.

    Of checkpoints of several seeds, all are evaluated and told of, and the median one is released: by the test set if
    it is read, else by validation.

    It has an index of training digits, and an int8 variant where that keeps its promise, and else a card that says why
    there is none.

    Raises:
        ReleaseError: a model falls short of the default root's bar, or the one to release is not verified.
        DataError: a data file is missing or damaged.
    """
    if root.resolve() == DEFAULT_ROOT.resolve():
        for checkpoint in checkpoints:
            _require_worthy(checkpoint)
    versions = root / NAME
    taken = [int(path.name) for path in versions.glob("[0-9]*") if path.name.isdigit()]
    version = str(max(taken, default=0) + 1)
    candidates = [_candidate(checkpoint, mnist, version, final, provider) for checkpoint in checkpoints]
    ranked = sorted(candidates, key=lambda candidate: candidate.evaluations[-1].accuracy)
    chosen = ranked[len(ranked) // 2]
    checkpoint, model, evaluations = chosen.checkpoint, chosen.model, chosen.evaluations
    images = mnist.test_images()
    deviations = verify(checkpoint.network, checkpoint.temperature, model, chosen.manifest, images, provider)
    metrics = {name: value for candidate in candidates for name, value in candidate.manifest.metrics.items()}
    manifest = chosen.manifest.model_copy(update={"metrics": metrics, "data": dict(mnist.hashes)})
    refused, files = "", {MODEL_FILE: model}
    configuration = checkpoint.configuration
    engine = opened(model, manifest, "cpu")
    files[INDEX_FILE], index = index_of(engine, mnist, configuration.split_seed, configuration.validation)
    manifest = manifest.model_copy(update={"index": index})
    try:
        calibration = calibration_images(mnist, configuration.split_seed, configuration.validation)
        files[INT8_FILE], int8 = make_int8(model, manifest, calibration, images, evaluations)
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
    draw_reliability(evaluations[-1], staging / "reliability.png")
    write_card(manifest, evaluations, chosen.robustness, deviations, staging / CARD_FILE, refused)
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


def _candidate(checkpoint: Checkpoint, mnist: Mnist, version: str, final: bool, provider: Provider) -> Candidate:
    configuration, temperature = checkpoint.configuration, checkpoint.temperature
    _, validation = split(mnist.training(), configuration.split_seed, configuration.validation)
    folded = fold(checkpoint.network, temperature)
    model = export(folded, {"name": NAME, "version": version, "training": configuration.to_json()})
    seed = f"seed {configuration.seed}"
    manifest = Manifest(
        name=NAME,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        sha256=hashlib.sha256(model).hexdigest(),
        input=INPUT,
        outputs=OUTPUTS,
        layers=ARCHITECTURE,
        labels=tuple(map(str, range(10))),
        temperature=temperature,
        rejection=Rejection(),
        golden=_golden(folded, validation),
        training=dataclasses.asdict(configuration) | {"digits": checkpoint.digits},
        data=checkpoint.data,
        metrics={seed: checkpoint.metrics},
        libraries=_library_versions(),
    )
    engine = opened(model, manifest, provider)
    logits, probabilities = answers(engine, validation.images)
    rejection = fit_rejection(evidence(logits, temperature), probabilities.max(axis=1))
    evaluations = [Evaluation("validation", validation, logits, probabilities)]
    if final:
        test = mnist.test()
        evaluations.append(Evaluation("test", test, *answers(engine, test.images)))
    robustness = judge(engine, validation, temperature)
    figures = {name: value for evaluation in evaluations for name, value in evaluation.metrics().items()}
    metrics = {seed: figures | robustness.metrics()}
    manifest = manifest.model_copy(update={"rejection": rejection, "metrics": metrics})
    return Candidate(checkpoint, model, manifest, evaluations, robustness)


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
