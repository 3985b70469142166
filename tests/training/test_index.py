"""The index of a version: what goes into it, how it is judged, and that adding one changes nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

import training.index
from service.engine import Engine
from service.inside.index import Index, load_index
from service.manifest import Manifest, load_manifest, load_model, save_manifest
from tests.training.conftest import make_manifest
from training.__main__ import main
from training.checkpoint import Checkpoint
from training.data import Digits, Mnist, places, split
from training.index import add_index, make_index
from training.model import DigitNet
from training.release import release

MakeMnist = Callable[..., Mnist]
LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def made(
    network: DigitNet, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Index, Manifest, Digits]:
    """An index of 300 digits, 200 of which it is made of, eight prototypes of each; its manifest, and the digits."""
    monkeypatch.setattr(training.index, "PROTOTYPES", 8)
    some = digits.take(slice(300))
    model, manifest = make_manifest(network, 1.5, digits)
    content, entry = make_index(Engine(model, manifest, provider="cpu"), some, *places(300, 4, 100))
    (tmp_path / "index.npz").write_bytes(content)
    manifest = manifest.model_copy(update={"index": entry})
    return load_index(tmp_path, manifest), manifest, some


def test_it_holds_training_digits_alone(made: tuple[Index, Manifest, Digits]) -> None:
    """Eight prototypes of each label, and no digit of validation, which NumPy draws by the seed."""
    index, manifest, digits = made
    validation = np.random.default_rng(4).permutation(300)[:100]
    assert not np.isin(index.indices, validation).any()
    np.testing.assert_array_equal(index.images, digits.images[index.indices, 0])
    np.testing.assert_array_equal(index.labels, digits.labels[index.indices])
    assert np.bincount(index.labels[index.prototypes]).tolist() == [8] * 10
    assert manifest.index is not None and manifest.index.prototypes == 80


def test_exemplars_are_the_most_excited_of_all(made: tuple[Index, Manifest, Digits], network: DigitNet) -> None:
    """Of each channel, the nine that PyTorch's unfolded network finds among all the training digits."""
    index, _, digits = made
    training, _ = places(300, 4, 100)
    values = network.double().activations(torch.tensor(digits.images[training]).double())
    for layer, table in index.exemplars.items():
        largest = values[layer].detach().reshape(200, len(table), -1).amax(2).numpy()
        found = np.take_along_axis(largest.T, np.searchsorted(training, index.indices[table]), axis=1)
        np.testing.assert_allclose(found, -np.sort(-largest.T, axis=1)[:, :9], rtol=0, atol=1e-4, err_msg=layer)


def test_figures_are_scipys(made: tuple[Index, Manifest, Digits], network: DigitNet) -> None:
    """The validation digits' nearest prototypes, their labels and distances, by PyTorch and SciPy."""
    index, manifest, digits = made
    assert manifest.index is not None
    _, validation = places(300, 4, 100)
    rows = [*validation, *index.indices[index.prototypes]]
    values = network.double().activations(torch.tensor(digits.images[rows]).double())["fc1_relu"].detach().numpy()
    distances = cdist(values[:100], values[100:], "cosine")
    same = index.labels[index.prototypes][distances.argsort(axis=1)[:, :10]] == digits.labels[validation][:, None]
    figures = manifest.index.metrics
    assert figures["nearest_agreement"] == pytest.approx(same[:, 0].mean(), abs=1e-9)
    assert figures["ten_agreement"] == pytest.approx(same.mean(), abs=1e-9)
    assert figures["distance"] == pytest.approx(distances.min(axis=1).mean(), abs=1e-5)


@pytest.mark.usefixtures("without_pictures")
def test_a_release_has_an_index(checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path) -> None:
    """File, manifest and card of a new version have it, without the test labels; 200 digits are all prototypes."""
    (tmp_path / "mnist" / f"{LABELS}.gz").unlink()
    folder = release([checkpoint], small(), tmp_path / "root", final=False, provider="cpu")
    manifest = load_manifest(folder)
    training, _ = split(small().training(), 4, 100)
    index = load_index(folder, manifest)
    np.testing.assert_array_equal(index.images, training.images[:, 0])
    np.testing.assert_array_equal(index.labels, training.labels)
    assert manifest.index is not None and manifest.index.prototypes == 200
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.count("## Index\n") == 1
    assert card.index("## Variants\n") < card.index("## Index\n") < card.index("## Limits\n")
    assert "200 prototypes" in card and manifest.index.sha256[:12] in card


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def older(checkpoint: Checkpoint, small: MakeMnist, tmp_path: Path, without_pictures: None) -> Path:  # noqa: ARG001
    """A version from before there were indices."""
    folder = release([checkpoint], small(), tmp_path / "root", final=False, provider="cpu")
    save_manifest(load_manifest(folder).model_copy(update={"index": None}), folder)
    (folder / "index.npz").unlink()
    card = folder / "README.md"
    before, _, after = card.read_text(encoding="utf-8").partition("## Index\n")
    card.write_text(before + after[after.index("## Limits") :], encoding="utf-8")
    return folder


def test_an_index_is_added_to_a_version(
    older: Path, small: MakeMnist, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, card and manifest get it and nothing else changes, not a value of the manifest; again it is the same."""
    monkeypatch.setattr("training.__main__.Mnist", small)
    before, described = files(older), load_manifest(older)
    assert main(["index", str(older)]) == 0
    assert "200 prototypes, nearest_agreement" in " ".join(capsys.readouterr().out.split())
    after = files(older)
    assert after.keys() - before.keys() == {"index.npz"}
    assert {name for name in before if after[name] != before[name]} == {"manifest.json", "README.md"}
    manifest = load_manifest(older)
    assert manifest.model_copy(update={"index": None}) == described
    assert load_index(older, manifest).images.shape == (200, 28, 28)
    card = after["README.md"].decode()
    section = card[card.index("## Index") : card.index("## Limits")]
    assert card.replace(section, "").encode() == before["README.md"]
    add_index(older, small())
    assert files(older) == after


def test_the_manifest_is_written_last(older: Path, small: MakeMnist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cut off before it has a version without an index, that loads as before."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training.index, "save_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            add_index(older, small())
    manifest = load_manifest(older)
    assert manifest.index is None
    assert load_model(older, manifest)


def test_a_folder_without_a_version_is_told(
    tmp_path: Path, small: MakeMnist, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence and status 1."""
    monkeypatch.setattr("training.__main__.Mnist", small)
    assert main(["index", str(tmp_path)]) == 1
    assert "manifest.json cannot be read: No such file or directory" in capsys.readouterr().err
