"""MNIST's files: found, cached or fetched, checked, and split."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.conftest import DATA, idx
from tests.training.mirror import Mirror, dead_mirror
from training.data import SHA256, Digits, Mnist, split
from training.errors import DataError

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def test_the_test_set_is_the_published_one(digits: Digits) -> None:
    """Both real files have the published hashes, and the digits in them the known counts and grey levels."""
    for name in (IMAGES, LABELS):
        assert hashlib.sha256(gzip.decompress((DATA / f"{name}.gz").read_bytes())).hexdigest() == SHA256[name]
    assert digits.images.shape == (10_000, 1, 28, 28)
    assert digits.images.dtype == np.uint8
    assert digits.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(digits.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (digits.images.mean() / 255, digits.images.std() / 255) == pytest.approx((0.1325, 0.3105), abs=1e-4)


def test_mnist_dir_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an argument the environment decides, and an argument goes before it."""
    monkeypatch.setenv("MNIST_DIR", str(DATA))
    assert len(Mnist().test()) == 10_000
    with pytest.raises(DataError, match=f"^{tmp_path} has no {IMAGES}.gz$"):
        Mnist(tmp_path).test()


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_raw_files_read_like_gzipped_ones(small: Callable[..., Mnist], tmp_path: Path, part: str) -> None:
    """The decompressed form beside or instead of the gzipped one gives the same digits and hashes."""
    read = Mnist.training if part == "train" else Mnist.test
    mnist = small()
    gzipped = read(mnist)
    for path in (tmp_path / "mnist").glob(f"{part}*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    again = small()
    raw = read(again)
    np.testing.assert_array_equal(raw.images, gzipped.images, strict=True)
    np.testing.assert_array_equal(raw.labels, gzipped.labels, strict=True)
    assert mnist.hashes == again.hashes
    assert {name.split("-")[0] for name in again.hashes} == {part}


def test_test_images_leave_the_labels_unread(tmp_path: Path, digits: Digits) -> None:
    """The images can be had where there is no file of labels at all, and only their hash is recorded."""
    (tmp_path / f"{IMAGES}.gz").symlink_to(DATA / f"{IMAGES}.gz")
    mnist = Mnist(tmp_path)
    np.testing.assert_array_equal(mnist.test_images(), digits.images, strict=True)
    assert mnist.hashes == {IMAGES: SHA256[IMAGES]}
    with pytest.raises(DataError, match=f"^{tmp_path} has no {LABELS}.gz$"):
        mnist.test()


def test_a_named_folder_is_not_filled(mirror: Mirror, tmp_path: Path) -> None:
    """What lacks in a folder that somebody named is told, and not downloaded into it."""
    with pytest.raises(DataError, match="has no train-images"):
        Mnist(tmp_path, mirrors=[mirror.url("range")]).training()
    assert mirror.asked == []
    assert list(tmp_path.iterdir()) == []


def damage(content: bytes, manner: str) -> bytes:
    """The gzipped images of `small`, spoilt."""
    raw = gzip.decompress(content)
    return {
        "cut gzip": content[:-100],
        "cut IDX": gzip.compress(raw[:-1]),
        "magic": gzip.compress(b"\0\0\x08\x01" + raw[4:]),
        "pixel": gzip.compress(raw[:-1] + bytes([raw[-1] ^ 1])),
        "empty": b"",
    }[manner]


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("cut gzip", "is truncated or damaged: its gzip stream does not end as it should"),
        ("cut IDX", r"holds 31,359 values, but its header says 31,360"),
        ("magic", "has the magic number 0x00000801, not 0x00000803"),
        ("pixel", "is not the published file: its content has SHA-256 [0-9a-f]{64}"),
        ("empty", "is truncated: it ends within its magic number"),
    ],
)
def test_a_damaged_file_is_named(small: Callable[..., Mnist], tmp_path: Path, manner: str, message: str) -> None:
    """Each kind of damage gives one sentence with the file's path; the folder stays as it was, and no hash is told."""
    path = tmp_path / "mnist" / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes(), manner))
    before = sorted(path.parent.iterdir())
    mnist = small()
    with pytest.raises(DataError, match=f"^{path} {message}$"):
        mnist.test()
    assert sorted(path.parent.iterdir()) == before
    assert mnist.hashes == {}


def test_counts_that_disagree_are_refused(tmp_path: Path) -> None:
    """Three images with two labels are no digits, although each file by itself is right."""
    documents = {IMAGES: idx(np.zeros((3, 28, 28), np.uint8)), LABELS: idx(np.zeros(2, np.uint8))}
    for name, document in documents.items():
        (tmp_path / name).write_bytes(document)
    hashes = {name: hashlib.sha256(document).hexdigest() for name, document in documents.items()}
    with pytest.raises(DataError, match=f"^{IMAGES} has 3 images, but {LABELS} 2 labels$"):
        Mnist(tmp_path, sha256=hashes).test()


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache, empty, and no MNIST_DIR."""
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setattr("training.data.user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "digitscope" / "mnist"


def test_a_download_fills_the_cache_once(cached: Path, mirror: Mirror) -> None:
    """The first mirror being dead, the second fills the cache; a later reading asks nobody."""
    mirror.content = (DATA / f"{IMAGES}.gz").read_bytes()
    mirrors = [dead_mirror(), mirror.url("range")]
    first = Mnist(mirrors=mirrors).test_images()
    assert [path.name for path in cached.iterdir()] == [f"{IMAGES}.gz"]
    asked = len(mirror.asked)
    np.testing.assert_array_equal(Mnist(mirrors=mirrors).test_images(), first)
    assert len(mirror.asked) == asked == 1


@pytest.mark.parametrize(
    ("content", "manner", "message"),
    [
        (gzip.compress(b"another file"), "range", "what it sends is not the published file: its content has SHA-256 "),
        (b"<!doctype html>", "plain", "what it sends is not the published file: its content has SHA-256 "),
        ((DATA / f"{IMAGES}.gz").read_bytes(), "unsaid", "[^ ]* is truncated or damaged: its gzip stream "),
    ],
    ids=["hash", "page", "cut"],
)
def test_a_download_that_is_not_the_published_file_is_deleted(
    cached: Path,
    mirror: Mirror,
    content: bytes,
    manner: str,
    message: str,
) -> None:
    """With another hash, or cut where no length was told, nothing of it stays, and the next run gets it right."""
    mirror.content = content
    mirrors = [mirror.url(manner), mirror.url(manner) + "/again"]
    reasons = "; ".join(f"{mirror}: {message}[^;]*" for mirror in mirrors)
    mnist = Mnist(mirrors=mirrors)
    with pytest.raises(DataError, match=rf"^{IMAGES}.gz could not be downloaded \({reasons}\)$"):
        mnist.test_images()
    assert list(cached.iterdir()) == []
    assert mnist.hashes == {}
    assert len(mirror.asked) == 2
    mirror.content = (DATA / f"{IMAGES}.gz").read_bytes()
    assert len(Mnist(mirrors=[mirror.url("range")]).test_images()) == 10_000


@pytest.mark.parametrize("manner", ["page", "unsaid", "cut"])
def test_a_good_second_mirror_wins(cached: Path, mirror: Mirror, digits: Digits, manner: str) -> None:
    """The first sends a page, or an end too early, told or not; one call fills the cache with the published file."""
    mirror.content = (DATA / f"{IMAGES}.gz").read_bytes()
    mnist = Mnist(mirrors=[mirror.url(manner), mirror.url("range")])
    np.testing.assert_array_equal(mnist.test_images(), digits.images, strict=True)
    assert mnist.hashes == {IMAGES: SHA256[IMAGES]}
    assert [path.name for path in cached.iterdir()] == [f"{IMAGES}.gz"]
    assert [wanted for _, wanted in mirror.asked] == [None, None]


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 200), st.data())
def test_split_parts_the_digits(count: int, data: st.DataObject) -> None:
    """Every digit with its label is in just one part, of the size asked for, and in the same for the same seed."""
    validation, seed = data.draw(st.integers(0, count)), data.draw(st.integers(0, 2**32))
    numbers = np.arange(count, dtype=np.uint8)
    digits = Digits(numbers[:, None, None, None], numbers)
    training, held = split(digits, seed, validation)
    assert (len(training), len(held)) == (count - validation, validation)
    assert sorted([*training.labels, *held.labels]) == numbers.tolist()
    for part in (training, held):
        np.testing.assert_array_equal(part.images.ravel(), part.labels)
    np.testing.assert_array_equal(split(digits, seed, validation)[1].labels, held.labels)


def test_another_seed_splits_otherwise() -> None:
    """Of two halves drawn by two seeds, as many digits are in both as chance would have it: about a quarter."""
    numbers = np.arange(10_000)
    digits = Digits(numbers, numbers)  # type: ignore[arg-type]  # numbered beyond what a byte holds
    first, second = (split(digits, seed, 5_000)[1].labels for seed in (0, 1))
    assert abs(len(np.intersect1d(first, second)) - 2_500) < 200  # some six standard deviations
