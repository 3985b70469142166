"""A model version: what is in it, what it is refused for, and that a failure leaves none."""

import base64
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import training.release
from service.manifest import load_manifest, load_model, versions
from training.checkpoint import Checkpoint, load_checkpoint
from training.configuration import Teaching
from training.data import Digits, Mnist, split
from training.errors import DataError, ReleaseError
from training.export import export
from training.fold import fold
from training.model import DigitNet
from training.release import release

MakeMnist = Callable[..., Mnist]
PICTURES = {"confusion.png", "misread.png", "reliability.png"}
FILES = {"model.onnx", "index.npz", "manifest.json", "README.md", "checkpoint.safetensors"} | PICTURES
ROBUSTNESS = {"redrawn_accuracy", "corrupted_accuracy", "non_digits_auc"}
LABELS = "t10k-labels-idx1-ubyte"


def test_a_version_is_whole_and_as_promised(checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path) -> None:
    """The folder has all files and nothing else, and the manifest says what the files and the checkpoint hold."""
    folder = release([checkpoint], small(), tmp_path / "root", final=False, provider="cpu")
    assert folder == tmp_path / "root" / "digits" / "1"
    manifest = load_manifest(folder)
    assert {path.name for path in folder.iterdir()} == FILES | {v.file for v in manifest.variants.values()}
    assert list(folder.parent.iterdir()) == [folder]
    assert manifest.sha256 == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert load_model(folder, manifest)
    assert (manifest.name, manifest.version, manifest.temperature) == ("digits", "1", 1.25)
    assert manifest.training == dataclasses.asdict(checkpoint.configuration) | {"digits": 200}
    assert {"torch", "onnx", "numpy"} < manifest.libraries.keys()
    again = load_checkpoint(folder / "checkpoint.safetensors").network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in checkpoint.network.state_dict().items())


@pytest.mark.usefixtures("without_pictures")
def test_golden_inputs_are_validation_digits_with_float64_s_logits(
    checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path
) -> None:
    """One digit of each label, kept from training, with what the unfolded network says divided by the temperature."""
    folder = release([checkpoint], small(), tmp_path, final=False, provider="cpu")
    _, validation = split(small().training(), 4, 100)
    known = {image.tobytes(): label for image, label in zip(validation.images, validation.labels, strict=True)}
    golden = load_manifest(folder).golden
    assert [digit.label for digit in golden] == list(range(10))
    for digit in golden:
        pixels = base64.b64decode(digit.image)
        assert known[pixels] == digit.label
        image = torch.tensor(list(pixels), dtype=torch.float64).reshape(1, 1, 28, 28)
        logits = checkpoint.network.double()(image)[0] / 1.25
        np.testing.assert_allclose(digit.logits, logits.detach().numpy(), rtol=0, atol=1e-9)


@pytest.mark.usefixtures("without_pictures")
def test_a_second_version_follows_and_gaps_stay(checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path) -> None:
    """The next number is one above the highest that is there, be that a version or a folder somebody left."""
    assert release([checkpoint], small(), tmp_path, final=False, provider="cpu").name == "1"
    assert release([checkpoint], small(), tmp_path, final=False, provider="cpu").name == "2"
    (tmp_path / "digits" / "10").mkdir()
    assert release([checkpoint], small(), tmp_path, final=False, provider="cpu").name == "11"
    assert versions(tmp_path, "digits") == [1, 2, 11]


def misread_by(checkpoint: Checkpoint, digits: Digits) -> tuple[float, int]:
    """The share that the network reads right, and the number that it does not, by its own forward pass."""
    read = checkpoint.network(torch.tensor(digits.images).float()).argmax(1).numpy()
    return float(np.mean(read == digits.labels)), int((read != digits.labels).sum())


@pytest.mark.usefixtures("without_pictures")
def test_the_test_labels_stay_unread_unless_final(
    checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path, digits: Digits
) -> None:
    """Where the labels' file is missing a version is made all the same; with `final` it is missed and none is made."""
    labels = tmp_path / "mnist" / f"{LABELS}.gz"
    kept = labels.read_bytes()
    labels.unlink()
    folder = release([checkpoint], small(), tmp_path / "a", final=False, provider="cpu")
    manifest, card = load_manifest(folder), (folder / "README.md").read_text(encoding="utf-8")
    assert manifest.metrics.keys() == {"seed 4"}
    of_validation = {"validation_accuracy", "validation_loss", "validation_brier"}
    assert manifest.metrics["seed 4"].keys() == of_validation | ROBUSTNESS
    assert LABELS not in manifest.data
    assert "The test labels were not read." in card
    assert "| test |" not in card

    with pytest.raises(DataError, match=f"has no {LABELS}.gz$"):
        release([checkpoint], small(), tmp_path / "b", final=True, provider="cpu")
    assert not (tmp_path / "b").exists()

    labels.write_bytes(kept)
    folder = release([checkpoint], small(), tmp_path / "b", final=True, provider="cpu")
    manifest, card = load_manifest(folder), (folder / "README.md").read_text(encoding="utf-8")
    accuracy, misread = misread_by(checkpoint, digits.take(slice(300, 340)))
    assert manifest.metrics["seed 4"]["test_accuracy"] == accuracy
    assert LABELS in manifest.data
    assert "The test labels were read once in this release, after training and verification." in card
    assert f"| test | 40 | {accuracy:.2%} | {misread} |" in card


@pytest.mark.usefixtures("without_pictures")
def test_a_model_that_is_not_verified_leaves_nothing(
    checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export with another temperature than the checkpoint's fails, and no folder was made for it."""
    monkeypatch.setattr(training.release, "export", lambda _, metadata: export(fold(checkpoint.network, 1.3), metadata))
    with pytest.raises(ReleaseError, match="the engine refuses the model"):
        release([checkpoint], small(), tmp_path / "root", final=False, provider="cpu")
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("without_pictures")
def test_what_a_crash_left_is_no_version(
    checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends while it writes leaves no manifest where versions are looked for; the next one clears up."""

    def fail(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(training.release, "write_card", fail)
        with pytest.raises(MemoryError):
            release([checkpoint], small(), tmp_path, final=False, provider="cpu")
    assert versions(tmp_path, "digits") == []
    folder = release([checkpoint], small(), tmp_path, final=False, provider="cpu")
    assert list((tmp_path / "digits").iterdir()) == [folder]


@pytest.mark.parametrize(
    ("accuracy", "limit", "message"),
    [
        (0.9899, 0, r"^a validation accuracy of 98\.99% is below the 99% that models/ asks for; "),
        (0.999, 200, r"^a model of a limited number of digits does not go into models/; "),
        (float("nan"), 0, "below the 99% that models/ asks for"),
        (0.99, 0, None),
    ],
)
@pytest.mark.usefixtures("without_pictures")
def test_the_default_root_takes_only_worthy_models(
    checkpoint: Checkpoint,
    small: MakeMnist,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accuracy: float,
    limit: int,
    message: str | None,
) -> None:
    """99 % on validation and all digits, by whatever path the root is named; another root takes every model."""
    monkeypatch.chdir(tmp_path)
    judged = dataclasses.replace(
        checkpoint,
        metrics={"validation_accuracy": accuracy},
        configuration=dataclasses.replace(checkpoint.configuration, limit=limit),
    )
    (tmp_path / "link").symlink_to("models")
    for root in (Path("models"), tmp_path / "models", Path("link")):
        if message is None:
            assert release([judged], small(), root, final=False, provider="cpu").exists()
        else:
            with pytest.raises(ReleaseError, match=message):
                release([judged], small(), root, final=False, provider="cpu")
            assert not (tmp_path / "models").exists()
    assert release([judged], small(), tmp_path / "elsewhere", final=False, provider="cpu").exists()


@pytest.mark.usefixtures("without_pictures")
def test_of_several_seeds_the_median_is_released(
    checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path, digits: Digits
) -> None:
    """Of three networks, each of which knows one digit alone, the one between is exported, by the test set.

    The figures of all three are in the manifest, and the card has their mean and spread, as NumPy has them.
    """
    test = digits.take(slice(300, 340)).labels
    shares = {digit: float(np.mean(test == digit)) for digit in range(10)}
    low, *_, high = sorted(shares, key=shares.__getitem__)
    middle = next(digit for digit in shares if shares[low] < shares[digit] < shares[high])
    checkpoints = []
    for seed, digit in enumerate((high, middle, low)):
        network = DigitNet(33.3, 78.6)
        with torch.no_grad():
            network.fc2.weight.zero_()
            network.fc2.bias.copy_(torch.eye(10)[digit])
        configuration = dataclasses.replace(checkpoint.configuration, seed=seed)
        checkpoints.append(dataclasses.replace(checkpoint, configuration=configuration, network=network.eval()))
    folder = release(checkpoints, small(), tmp_path, final=True, provider="cpu")
    assert load_checkpoint(folder / "checkpoint.safetensors").configuration.seed == 1
    metrics = load_manifest(folder).metrics
    found = [metrics[f"seed {seed}"]["test_accuracy"] for seed in range(3)]
    assert found == [shares[high], shares[middle], shares[low]]
    card = (folder / "README.md").read_text(encoding="utf-8")
    (header,) = (line for line in card.splitlines() if "redrawn accuracy" in line)
    column = [cell.strip() for cell in header.split("|")].index("test accuracy")
    rows = {
        cells[1].strip(): cells[column].strip()
        for cells in (row.split("|") for row in card.splitlines())
        if len(cells) > column
    }
    (float32,) = (line for line in card.splitlines() if line.startswith("| float32 |"))
    assert f" {shares[middle]:.2%} " in float32  # its own figure, and not another seed's
    assert (rows["mean"], rows["standard deviation"]) == (f"{np.mean(found):.2%}", f"{np.std(found, ddof=1):.2%}")


@pytest.mark.usefixtures("without_pictures")
def test_seeds_of_one_split_are_judged_by_it_and_the_card_tells_of_their_teachers(
    checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path
) -> None:
    """Accuracy and golden digits are of the validation digits of that split, whatever the seed."""
    taught = dataclasses.replace(checkpoint.configuration, split=0, teaching=Teaching(views=7))
    seeds = [
        dataclasses.replace(checkpoint, configuration=dataclasses.replace(taught, seed=seed), metrics={})
        for seed in (4, 5)
    ]
    folder = release(seeds, small(), tmp_path, final=False, provider="cpu")
    manifest, card = load_manifest(folder), (folder / "README.md").read_text(encoding="utf-8")
    _, validation = split(small().training(), 0, 100)
    accuracy, _ = misread_by(checkpoint, validation)
    assert {figures["validation_accuracy"] for figures in manifest.metrics.values()} == {accuracy}
    known = {image.tobytes() for image in validation.images}
    assert all(base64.b64decode(digit.image) in known for digit in manifest.golden)
    assert "100 others, drawn by seed 0, judged every choice" in card
    assert "Nothing but the seed differs; the split is that of seed 0 for all." in card
    assert "2 larger networks (five convolutions), trained for 10 epochs" in card
    assert "7 distorted images of each digit" in card
