"""A variant keeps its promise or is not there: how it is judged, added to a version, and left out of one."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import training.variant
from service.engine import Engine
from service.manifest import Manifest, load_manifest, load_model, save_manifest
from tests.training.conftest import make_manifest
from training.__main__ import main
from training.checkpoint import Checkpoint
from training.data import Digits, Mnist
from training.errors import PromiseError
from training.evaluation import Evaluation, evaluate_model
from training.model import DigitNet
from training.quantise import quantise
from training.release import release
from training.variant import add_int8, calibration_images, make_int8

MakeMnist = Callable[..., Mnist]
LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def any_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes every variant: whether a network of random weights reads some digit otherwise is chance."""
    monkeypatch.setattr(training.variant, "AGREEMENT", 0)
    monkeypatch.setattr(training.variant, "ACCURACY_MARGIN", 1)


@pytest.fixture
def no_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes no variant."""
    monkeypatch.setattr(training.variant, "AGREEMENT", 1.01)


@pytest.fixture
def made(network: DigitNet, digits: Digits) -> tuple[bytes, Manifest, Evaluation]:
    """An exported network, its manifest and what it answers to 2,000 digits."""
    model, manifest = make_manifest(network, 1.5, digits)
    return model, manifest, evaluate_model(Engine(model, manifest, provider="cpu"), "some", digits.take(slice(2000)))


def read(model: bytes, images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The digits that plain ONNX Runtime reads."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[np.intp] = session.run(["logits"], {"image": images})[0].argmax(axis=1)
    return found


@pytest.mark.usefixtures("any_promise")
def test_figures_are_those_of_plain_onnx_runtime(made: tuple[bytes, Manifest, Evaluation], digits: Digits) -> None:
    """Hash, agreement and accuracy are of the file that was made, and golden logits those of ONNX's definition."""
    model, manifest, judged = made
    content, variant = make_int8(model, manifest, digits.images[5000:5200], digits.images[:3000], [judged])
    assert (variant.file, variant.sha256) == ("model.int8.onnx", hashlib.sha256(content).hexdigest())
    before, after = (read(file, digits.images[:3000]) for file in (model, content))
    assert variant.agreement == (before == after).mean()
    assert variant.metrics["some_accuracy"] == (after[:2000] == digits.labels[:2000]).mean()
    assert variant.calibration == "activations of 200 training digits"
    images = np.frombuffer(b"".join(digit.pixels() for digit in manifest.golden), np.uint8).reshape(-1, 1, 28, 28)
    (expected,) = ReferenceEvaluator(onnx.load_model_from_string(content)).run(["logits"], {"image": images})
    np.testing.assert_array_equal(np.array(variant.golden, np.float32), expected)


@pytest.mark.parametrize(("share", "kept"), [(0.999, True), (0.9985, False)])
def test_agreement_is_on_999_of_1000_images(
    made: tuple[bytes, Manifest, Evaluation], digits: Digits, monkeypatch: pytest.MonkeyPatch, share: float, kept: bool
) -> None:
    """Exactly that share is enough, and less is told; what is read is counted through the engine of the variant."""
    model, manifest, _ = made
    images = digits.images[:2000]
    original = training.variant._read
    wrong = round((1 - share) * len(images))

    def misread(engine: Engine, some: NDArray[np.uint8]) -> NDArray[np.intp]:
        found = original(Engine(model, manifest, provider="cpu"), some)
        if engine.precision == "int8":
            found[:wrong] = (found[:wrong] + 1) % 10
        return found

    monkeypatch.setattr(training.variant, "_read", misread)
    if kept:
        assert make_int8(model, manifest, images[:200], images, [])[1].agreement == share
    else:
        with pytest.raises(PromiseError, match=r"^99\.85% of the test images get the digit of float32, not 99\.9%$"):
            make_int8(model, manifest, images[:200], images, [])


@pytest.mark.parametrize(("misread", "kept"), [(1, True), (-1, True), (2, False), (-2, False)])
@pytest.mark.usefixtures("any_promise")
def test_accuracy_is_within_two_hundredths_of_a_point(
    made: tuple[bytes, Manifest, Evaluation],
    digits: Digits,
    monkeypatch: pytest.MonkeyPatch,
    misread: int,
    kept: bool,
) -> None:
    """Of 5,000 digits one more or less may be read right, and not two."""
    model, manifest, _ = made
    some = digits.take(slice(5000))
    monkeypatch.setattr(training.variant, "ACCURACY_MARGIN", 0.0002)

    def judgement(wrong: int) -> Evaluation:
        probabilities = np.eye(10)[(some.labels + (np.arange(5000) < wrong)) % 10]
        return Evaluation("validation", some, probabilities, probabilities)

    monkeypatch.setattr(training.variant, "evaluate_model", lambda *_: judgement(40 + misread))
    if kept:
        _, variant = make_int8(model, manifest, some.images[:200], some.images[:100], [judgement(40)])
        assert variant.metrics["validation_accuracy"] == (4960 - misread) / 5000
    else:
        with pytest.raises(
            PromiseError, match=r"^the validation accuracy is .* and float32's 99\.20%, more than 0\.02%"
        ):
            make_int8(model, manifest, some.images[:200], some.images[:100], [judgement(40)])


def test_a_variant_that_is_wrong_is_found(
    made: tuple[bytes, Manifest, Evaluation], digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that were rounded far too coarsely break the promise, with nothing else replaced."""
    model, manifest, judged = made

    def coarse(file: bytes, calibration: dict[str, NDArray[np.float32]]) -> bytes:
        quantised = onnx.load_model_from_string(quantise(file, calibration))
        weight = next(constant for constant in quantised.graph.initializer if constant.name == "fc1.weight")
        rounded = (numpy_helper.to_array(weight) // 48 * 48).astype(np.int8)
        weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
        content: bytes = quantised.SerializeToString()
        return content

    monkeypatch.setattr(training.variant, "quantise", coarse)
    with pytest.raises(PromiseError, match=r"of the test images get the digit of float32, not 99\.9%$"):
        make_int8(model, manifest, digits.images[:200], digits.images[:1000], [judged])


def test_it_is_calibrated_on_digits_that_trained(small: MakeMnist) -> None:
    """Neither validation nor test has a share in it."""
    mnist = small()
    found = {image.tobytes() for image in calibration_images(mnist, 4, 100)}
    order = np.random.default_rng(4).permutation(300)
    everything = mnist.training().images
    assert found == {everything[place].tobytes() for place in order[100:]}


@pytest.mark.usefixtures("without_pictures", "any_promise")
def test_a_release_has_the_variant(checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path) -> None:
    """File, manifest and card of a new version have it, verified; its figures are of the sets that were read."""
    folder = release([checkpoint], small(), tmp_path / "root", final=False, provider="cpu")
    manifest = load_manifest(folder)
    assert load_model(folder, manifest, "int8") == (folder / "model.int8.onnx").read_bytes()
    assert manifest.variants["int8"].metrics.keys() == {f"validation_{name}" for name in ("accuracy", "loss", "brier")}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.count("## Variants") == card.count("| int8 | `model.int8.onnx` | 0.99 |") == 1
    assert "test accuracy" not in card
    final = release([checkpoint], small(), tmp_path / "root", final=True, provider="cpu")
    assert "test_accuracy" in load_manifest(final).variants["int8"].metrics


@pytest.mark.usefixtures("without_pictures", "no_promise")
def test_a_release_goes_without_a_variant_that_breaks_its_promise(
    checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path
) -> None:
    """The version is there all the same, and its card says why there is no faster one."""
    folder = release([checkpoint], small(), tmp_path / "root", final=False, provider="cpu")
    assert load_manifest(folder).variants == {}
    assert not (folder / "model.int8.onnx").exists()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(
        r"There is none: in int8, [\d.]+% of the test images get the digit of float32, not 101\.0%\.\n", card
    )


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def older(checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path, without_pictures: None) -> Path:  # noqa: ARG001
    """A version from before there were variants, whose test labels were not read."""
    folder = release([checkpoint], small(), tmp_path / "root", final=False, provider="cpu")
    manifest = load_manifest(folder)
    save_manifest(manifest.model_copy(update={"variants": {}}), folder)
    (folder / "model.int8.onnx").unlink(missing_ok=True)
    card = folder / "README.md"
    before, _, after = card.read_text(encoding="utf-8").partition("## Variants\n")
    card.write_text(before + after[after.index("## Limits") :], encoding="utf-8")
    return folder


@pytest.mark.usefixtures("any_promise")
def test_a_variant_is_added_to_a_version(
    older: Path, small: MakeMnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, card and manifest get it and nothing else changes, without the test labels; again it is the same."""
    (tmp_path / "mnist" / f"{LABELS}.gz").unlink()
    monkeypatch.setattr("training.__main__.Mnist", small)
    before = files(older)
    assert main(["quantise", str(older)]) == 0
    assert "verified and added" in capsys.readouterr().out
    after = files(older)
    assert after.keys() - before.keys() == {"model.int8.onnx"}
    assert {name for name in before if after[name] != before[name]} == {"manifest.json", "README.md"}
    manifest = load_manifest(older)
    assert load_model(older, manifest, "int8") == after["model.int8.onnx"]
    card = after["README.md"].decode()
    section = card[card.index("## Variants") : card.index("## Limits")]
    assert card.replace(section, "").encode() == before["README.md"]
    assert "| int8 | `model.int8.onnx` |" in section
    add_int8(older, small())
    assert files(older) == after


@pytest.mark.usefixtures("no_promise")
def test_a_variant_that_breaks_its_promise_is_not_added(
    older: Path, small: MakeMnist, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version stays as it was, and one sentence says why."""
    monkeypatch.setattr("training.__main__.Mnist", small)
    before = files(older)
    assert main(["quantise", str(older)]) == 1
    assert "of the test images get the digit of float32, not 101.0%" in capsys.readouterr().err
    assert files(older) == before


@pytest.mark.usefixtures("any_promise")
def test_the_manifest_is_written_last(older: Path, small: MakeMnist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cut off before it has a version without the variant, that loads as before."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training.variant, "save_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            add_int8(older, small())
    manifest = load_manifest(older)
    assert manifest.variants == {}
    assert load_model(older, manifest)
    add_int8(older, small())
    assert set(load_manifest(older).variants) == {"int8"}
