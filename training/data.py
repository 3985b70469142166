"""MNIST: its four files found or fetched, checked, and the training set split.

The files are Y. LeCun's, C. Cortes' and C. Burges' (licence: CC BY-SA 3.0), made from NIST Special Databases 1 and 3.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from training.download import download
from training.errors import DataError
from training.idx import decompress, parse

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://raw.githubusercontent.com/fgnt/mnist/master",
)
SHA256: Mapping[str, str] = {  # of the decompressed files: mirrors compress them differently
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
VALIDATION = 5_000  # digits of the training set that are kept for every choice

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """Images uint8 (n, 1, 28, 28), bright ink on black, and their labels uint8 (n,)."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.intp] | slice) -> "Digits":
        """The digits at these places, in that order."""
        return Digits(self.images[indices], self.labels[indices])


def cache() -> Path:
    """Where downloaded files are kept for this user."""
    return user_cache_path("digitscope") / "mnist"


class Mnist:
    """The data set's four files.

    Each is found and checked when it is first read, so test labels stay unread until somebody asks for them.

    Attributes:
        hashes: SHA-256 of the decompressed content of each file read so far, by name.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        sha256: Mapping[str, str] = SHA256,
        mirrors: Sequence[str] = MIRRORS,
    ) -> None:
        """`directory` holds the files; None stands for `MNIST_DIR`, else the user's cache, filled by download."""
        named = directory or (Path(os.environ["MNIST_DIR"]) if os.environ.get("MNIST_DIR") else None)
        self._directory = named or cache()
        self._mirrors = () if named else mirrors
        self._sha256 = sha256
        self.hashes: dict[str, str] = {}

    def training(self) -> Digits:
        """The 60,000 digits for training and validation.

        Raises:
            DataError: a file is missing, damaged, or not the published one.
        """
        return self._digits("train")

    def test(self) -> Digits:
        """The 10,000 test digits with their labels.

        Raises:
            DataError: as for `training`.
        """
        return self._digits("t10k")

    def test_images(self) -> Images:
        """The 10,000 test images without their labels, uint8 (10000, 1, 28, 28).

        Raises:
            DataError: as for `training`.
        """
        return self._read("t10k-images-idx3-ubyte", 3)[:, None]

    def _digits(self, part: str) -> Digits:
        images_name, labels_name = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        images, labels = self._read(images_name, 3), self._read(labels_name, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_name} has {len(images):,} images, but {labels_name} {len(labels):,} labels")
        return Digits(images[:, None], labels)

    def _read(self, name: str, axes: int) -> NDArray[np.uint8]:
        path = self._find(name)
        content = decompress(path)
        values = parse(content, str(path), axes)
        self.hashes[name] = self._hash(name, content, str(path))
        return values

    def _find(self, name: str) -> Path:
        for candidate in (self._directory / f"{name}.gz", self._directory / name):
            if candidate.exists():
                return candidate
        if not self._mirrors:
            raise DataError(f"{self._directory} has no {name}.gz")

        def check(path: Path) -> None:
            self._hash(name, decompress(path), "what it sends")

        return download(f"{name}.gz", self._mirrors, self._directory, check)

    def _hash(self, name: str, content: bytes, source: str) -> str:
        """The SHA-256 of the file's content, which is the published one."""
        digest = hashlib.sha256(content).hexdigest()
        if digest != self._sha256[name]:
            raise DataError(f"{source} is not the published file: its content has SHA-256 {digest}")
        return digest


def split(digits: Digits, seed: int, validation: int = VALIDATION) -> tuple[Digits, Digits]:
    """Training and validation digits, the latter `validation` many, drawn by `seed` alone."""
    training, kept = places(len(digits), seed, validation)
    return digits.take(training), digits.take(kept)


def places(count: int, seed: int, validation: int = VALIDATION) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the training and the validation digits of `split` are among `count` digits, each in ascending order."""
    order: NDArray[np.intp] = np.random.default_rng(seed).permutation(count)
    return np.sort(order[validation:]), np.sort(order[:validation])
