"""The file of training digits: what is in the shipped one, and that no other is taken for it."""

import dataclasses
import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from service.errors import ModelError, UnknownError
from service.inside.index import Index, directions, load_index
from service.manifest import Manifest, load_manifest
from tests.conftest import Mnist
from training.checkpoint import load_checkpoint

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def index(model_folder: Path, manifest: Manifest) -> Index:
    """The shipped one."""
    return load_index(model_folder, manifest)


def test_its_digits_are_mnists(index: Index, training_set: Mnist) -> None:
    """Each image and label is the one at its place in MNIST's own files, and none is there twice."""
    np.testing.assert_array_equal(index.images, training_set.images[index.indices])
    np.testing.assert_array_equal(index.labels, training_set.labels[index.indices])
    assert (np.diff(index.indices) > 0).all()


def test_none_of_them_is_of_validation(index: Index, manifest: Manifest) -> None:
    """The 5,000 digits that judged every choice, drawn by NumPy as the seed has them, are not among them."""
    validation = np.random.default_rng(manifest.training["seed"]).permutation(60_000)[:5000]
    assert not np.isin(index.indices, validation).any()


def test_every_label_has_as_many_prototypes(index: Index, manifest: Manifest) -> None:
    """300 of each, and as many as the manifest says, each once."""
    assert manifest.index is not None
    assert len(set(index.prototypes.tolist())) == len(index.prototypes) == manifest.index.prototypes
    assert np.bincount(index.labels[index.prototypes]).tolist() == [300] * 10


def test_the_prototypes_are_as_good_as_promised(
    model_folder: Path, index: Index, manifest: Manifest, training_set: Mnist
) -> None:
    """Each figure that the manifest has of the validation digits, found anew, and better than that of random digits.

    What they are near by is PyTorch's, of the network before it was folded. The file's own random draws were others,
    so that their figures agree but nearly.
    """
    assert manifest.index is not None and manifest.index.layer == "fc1_relu"
    promised = manifest.index.metrics
    network = load_checkpoint(model_folder / "checkpoint.safetensors").network
    shuffled = np.random.default_rng(manifest.training["seed"]).permutation(60_000)
    validation, rest = shuffled[:5000], shuffled[5000:]

    def vectors(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            pieces = [
                network.activations(torch.from_numpy(images[start : start + 500, None].astype(np.float32)))["fc1_relu"]
                for start in range(0, len(images), 500)
            ]
        values: NDArray[np.float32] = nn.functional.normalize(torch.cat(pieces)).numpy()
        return values

    judges, labels = vectors(training_set.images[validation]), training_set.labels[validation]

    def judged(images: NDArray[np.uint8], own: NDArray[np.uint8]) -> dict[str, float]:
        distances = 1 - judges @ vectors(images).T
        same = own[np.argsort(distances, axis=1)[:, :10]] == labels[:, None]
        figures = {"nearest_agreement": same[:, 0].mean(), "ten_agreement": same.mean()}
        return figures | {"distance": distances.min(axis=1).mean()}

    chosen = judged(index.images[index.prototypes], index.labels[index.prototypes])
    drawn = np.concatenate([rest[training_set.labels[rest] == label][:300] for label in range(10)])
    random = judged(training_set.images[drawn], training_set.labels[drawn])
    assert chosen["nearest_agreement"] == pytest.approx(promised["nearest_agreement"], abs=4e-4)  # two digits
    assert chosen["ten_agreement"] == pytest.approx(promised["ten_agreement"], abs=1e-4)
    assert chosen["distance"] == pytest.approx(promised["distance"], abs=1e-5)
    assert random["nearest_agreement"] == pytest.approx(promised["random_nearest_agreement"], abs=2e-3)
    assert random["ten_agreement"] == pytest.approx(promised["random_ten_agreement"], abs=2e-3)
    assert random["distance"] == pytest.approx(promised["random_distance"], rel=0.02)
    assert chosen["ten_agreement"] > random["ten_agreement"] and chosen["distance"] < 0.9 * random["distance"]


def test_it_is_small(model_folder: Path, index: Index) -> None:
    """A megabyte and a third, and no digit that nothing needs."""
    assert (model_folder / "index.npz").stat().st_size < 1.4e6
    needed = [index.prototypes, *(table.ravel() for table in index.exemplars.values())]
    assert np.unique(np.concatenate(needed)).tolist() == list(range(len(index.images)))


def test_directions_have_unit_length() -> None:
    """Of any values but 0, which stays, so that nothing is divided by it."""
    values = np.random.default_rng(0).normal(0, 1e3, (5, 7)).astype(np.float32)
    values[2] = 0
    found = directions(values)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(found[0] * np.linalg.norm(values[0]), values[0], rtol=1e-5)


def promise(content: bytes, folder: Path, manifest: Manifest, **changed: Any) -> Manifest:
    """Puts a file into a folder, and gives a manifest that promises just that one."""
    assert manifest.index is not None
    (folder / "index.npz").write_bytes(content)
    promised = manifest.index.model_copy(update={"sha256": hashlib.sha256(content).hexdigest(), **changed})
    return manifest.model_copy(update={"index": promised})


def test_what_is_written_is_read(index: Index, manifest: Manifest, tmp_path: Path) -> None:
    """All arrays come back, and the same index is the same bytes."""
    content = index.to_bytes()
    again = load_index(tmp_path, promise(content, tmp_path, manifest))
    for field in dataclasses.fields(Index):
        if field.name != "exemplars":
            np.testing.assert_array_equal(getattr(again, field.name), getattr(index, field.name))
    assert list(again.exemplars) == ["conv1", "conv2", "fc1"]
    for layer, table in index.exemplars.items():
        np.testing.assert_array_equal(again.exemplars[layer], table)
    assert again.to_bytes() == content


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_flipped_byte_is_found(model_folder: Path, manifest: Manifest, tmp_path: Path, place: int) -> None:
    """The file is not the promised one, wherever it differs; the sentence has both hashes and no folder."""
    content = bytearray((model_folder / "index.npz").read_bytes())
    content[place] ^= 1
    (tmp_path / "index.npz").write_bytes(content)
    assert manifest.index is not None
    with pytest.raises(ModelError, match=r"^index\.npz has SHA-256 \w{12}…, but its manifest says ") as refused:
        load_index(tmp_path, manifest)
    assert str(refused.value).endswith(f"{manifest.index.sha256[:12]}…")


def test_a_missing_file_is_told(manifest: Manifest, tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(ModelError, match=r"^index\.npz cannot be read: No such file or directory$"):
        load_index(tmp_path, manifest)


def test_a_version_without_one_is_told(model_folder: Path) -> None:
    """The first version is from before there were any."""
    older = model_folder.parent / "1"
    with pytest.raises(UnknownError, match=r"^version 1 of digits has no index of training digits$"):
        load_index(older, load_manifest(older))


class Trap:
    """What does harm when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Raises in whoever unpickles it."""
        return exec, ("raise SystemExit('unpickled')",)


def with_pickle() -> bytes:
    """An NPZ file whose images are a pickled object."""
    array = io.BytesIO()
    np.lib.format.write_array(array, np.array([Trap()], object), allow_pickle=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("images.npy", array.getvalue())
    return buffer.getvalue()


def one_array() -> bytes:
    """An NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"PK\x03\x04nonsense", with_pickle(), pickle.dumps({"images": Trap()}), one_array()],
    ids=["empty", "text", "zip", "pickled images", "pickle", "npy"],
)
def test_what_is_no_npz_is_refused(manifest: Manifest, tmp_path: Path, content: bytes) -> None:
    """Also where the manifest promises it; nothing is ever unpickled."""
    with pytest.raises(ModelError, match=r"^index\.npz is no NPZ file that can be read without pickle$"):
        load_index(tmp_path, promise(content, tmp_path, manifest))


def replaced(name: str, change: Callable[[NDArray[Any]], Any]) -> Callable[[Arrays], Arrays]:
    """A change of one array."""
    return lambda arrays: arrays | {name: change(arrays[name])}


def without(name: str) -> Callable[[Arrays], Arrays]:
    """The lack of one array."""
    return lambda arrays: {other: values for other, values in arrays.items() if other != name}


def beyond(value: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A change of the first value."""

    def change(values: NDArray[Any]) -> NDArray[Any]:
        values = values.copy()
        values.flat[0] = value
        return values

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("images"), "images is missing"),
        (without("exemplars.fc1"), r"exemplars\.fc1 is missing"),
        (replaced("images", lambda a: a[..., :27]), r"images is uint8 \(\d+, 28, 27\), not uint8 \(\d+, 28, 28\)"),
        (replaced("images", lambda a: a[0, 0, 0]), r"images is uint8 \(\), not uint8 \(0, 28, 28\)"),
        (replaced("images", lambda a: a.astype(np.float32)), r"images is float32 .*, not uint8"),
        (replaced("labels", lambda a: a[1:]), r"labels is uint8 \(\d+,\), not"),
        (replaced("indices", lambda a: a.astype(np.int64)), "indices is int64 .*, not int32"),
        (replaced("prototypes", lambda a: a[1:]), r"prototypes is uint16 \(2999,\), not uint16 \(3000,\)"),
        (replaced("exemplars.conv1", lambda a: a[:, :8]), r"exemplars\.conv1 is uint16 \(8, 8\), not uint16 \(8, 9\)"),
        (replaced("labels", beyond(10)), "labels has a value beyond 9"),
        (replaced("prototypes", beyond(65_535)), r"prototypes has a value beyond \d+"),
        (replaced("exemplars.conv2", beyond(65_535)), r"exemplars\.conv2 has a value beyond \d+"),
    ],
)
def test_another_s_arrays_are_refused(
    model_folder: Path, manifest: Manifest, tmp_path: Path, change: Callable[[Arrays], Arrays], said: str
) -> None:
    """A promised file without an array, or with one of another type, shape or range, is no index of the model."""
    with np.load(model_folder / "index.npz", allow_pickle=False) as file:
        arrays = dict(file)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **change(arrays))
    with pytest.raises(ModelError, match=rf"^index\.npz is no index of this model: {said}"):
        load_index(tmp_path, promise(buffer.getvalue(), tmp_path, manifest))


def test_the_promised_number_of_prototypes_counts(model_folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    """A manifest that says fewer than there are is not believed."""
    content = (model_folder / "index.npz").read_bytes()
    with pytest.raises(ModelError, match=r"prototypes is uint16 \(3000,\), not uint16 \(2000,\)$"):
        load_index(tmp_path, promise(content, tmp_path, manifest, prototypes=2000))
