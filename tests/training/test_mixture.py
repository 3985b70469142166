"""What a run trains on: how much of it is corrupted, what shows no digit, and that it comes again."""

from pathlib import Path

import numpy as np
import pytest

from service.image import canonical
from training.configuration import Configuration
from training.corruption import CORRUPTIONS
from training.data import Digits
from training.mixture import CORRUPTED_FILE, NON_DIGITS_FILE, NONE, Mixture, corrupted

MIXED = Configuration(corrupted=0.3, copies=2, non_digits=0.25, seed=3)


@pytest.fixture(scope="module")
def some(digits: Digits) -> Digits:
    """200 real digits."""
    return digits.take(slice(200))


@pytest.fixture(scope="module")
def mixture(some: Digits, tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    """They, corrupted twice each, with as many non-digits."""
    return Mixture(some, MIXED, tmp_path_factory.mktemp("run"))


def test_a_batch_has_its_digits_and_non_digits_behind_them(some: Digits, mixture: Mixture) -> None:
    """Of 40 digits all keep their labels, about 30 % of them other pixels, and 10 pictures follow that are none."""
    places = np.arange(40) * 5
    changed = []
    for seed in range(40):
        batch = mixture.batch(places, np.random.default_rng(seed))
        assert batch.images.shape == (50, 1, 28, 28) and batch.images.dtype == np.uint8
        assert batch.labels.tolist() == [*some.labels[places].tolist(), *[NONE] * 10]
        changed.append((batch.images[:40] != some.images[places]).any(axis=(1, 2, 3)).mean())
    assert np.mean(changed) == pytest.approx(0.3, abs=0.05)  # a few come through the intake unchanged


def test_the_digits_themselves_stay_as_they_are(some: Digits, mixture: Mixture) -> None:
    """Making batches writes into no image of the training set."""
    before = some.images.copy()
    for seed in range(5):
        mixture.batch(np.arange(200), np.random.default_rng(seed)).images[:] = 7
    np.testing.assert_array_equal(some.images, before)


def test_without_shares_a_batch_is_the_digits(some: Digits, tmp_path: Path) -> None:
    """Nothing is made, nothing is kept, nothing is added."""
    batch = Mixture(some, Configuration(), tmp_path).batch(np.array([7, 3]), np.random.default_rng(0))
    np.testing.assert_array_equal(batch.images, some.images[[7, 3]])
    np.testing.assert_array_equal(batch.labels, some.labels[[7, 3]])
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_is_kept_and_made_again_alike(some: Digits, tmp_path: Path) -> None:
    """A run that goes on reads its files; a new one of the same seed makes the same, and of another seed others."""
    few = some.take(slice(30))
    places = np.arange(30)

    def batch(folder: Path, configuration: Configuration = MIXED) -> np.ndarray:
        folder.mkdir(exist_ok=True)
        return Mixture(few, configuration, folder).batch(places, np.random.default_rng(1)).images

    first = batch(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {CORRUPTED_FILE, NON_DIGITS_FILE}
    np.testing.assert_array_equal(batch(tmp_path / "b"), first)
    assert (batch(tmp_path / "c", Configuration(corrupted=0.3, non_digits=0.25, seed=4)) != first).any()
    (tmp_path / "a" / NON_DIGITS_FILE).unlink()
    np.save(tmp_path / "a" / CORRUPTED_FILE, np.full((60, 28, 28), 9, np.uint8))
    again = batch(tmp_path / "a")
    assert (again[:30].reshape(30, -1) == 9).all(axis=1).any()  # the file was read
    np.testing.assert_array_equal(again[30:], first[30:])  # and the one that was missing made again


def test_the_population_is_every_digit_once(some: Digits, mixture: Mixture) -> None:
    """In batches, without non-digits; what is not corrupted is the digit itself, in its place."""
    parts = list(mixture.population(64))
    assert [len(part) for part in parts] == [64, 64, 64, 8]
    same = (np.concatenate(parts) == some.images).all(axis=(1, 2, 3)).mean()
    assert same == pytest.approx(0.7, abs=0.12)


@pytest.mark.parametrize("kind", ["grain", "bright", "paper"])
def test_corrupted_digits_pass_through_the_intake(some: Digits, kind: str) -> None:
    """What the network sees is the service's own preparation of the picture, dark on bright a quarter of the time."""
    inverted = 0
    for number in range(40):
        digit = some.images[number, 0]
        found = corrupted(digit, kind, np.random.default_rng(number))
        picture = CORRUPTIONS[kind](digit.astype(np.float32), np.random.default_rng(number))
        assert found.shape == (28, 28) and found.dtype == np.uint8
        dark = np.array_equal(found, canonical(255 - picture)) and not np.array_equal(found, canonical(picture))
        inverted += dark
        assert dark or np.array_equal(found, canonical(picture))
    assert inverted <= 20
