"""What a run trains on: digits, some of them as a camera or an accident leaves them, and pictures that show none.

Corrupted digits and non-digits pass through the very intake of the service, so the network meets them as it will when
it serves. They are made once a run, since making them takes longer than training on them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from rich.progress import track

from service.image import canonical
from training.configuration import Configuration
from training.corruption import CORRUPTIONS, Grey
from training.data import Digits, Images
from training.nondigit import NON_DIGITS, Sampler

NONE = 10
"""The label of what is no digit."""

CORRUPTED_FILE, NON_DIGITS_FILE = "corrupted.npy", "nondigits.npy"
_INVERTED = 0.25  # of the pictures, dark on bright


def corrupted(digit: NDArray[np.uint8], kind: str, generator: Generator) -> NDArray[np.uint8]:
    """What the network sees, uint8 (28, 28), of such a picture of a digit (28, 28), some of them dark on bright."""
    return _seen(CORRUPTIONS[kind](digit.astype(np.float32), generator), generator)


def non_digit(sampler: Sampler, kind: str, generator: Generator) -> NDArray[np.uint8]:
    """What the network sees, uint8 (28, 28), of such a picture, some of them dark on bright."""
    draw, _ = NON_DIGITS[kind]
    return _seen(draw(sampler, generator), generator)


def _seen(picture: Grey, generator: Generator) -> NDArray[np.uint8]:
    if generator.random() < _INVERTED:
        picture = 255 - picture
    return canonical(np.ascontiguousarray(picture, np.float32))


class Mixture:
    """A run's training digits with their corrupted copies and its non-digits, from `folder` or made into it."""

    def __init__(self, training: Digits, configuration: Configuration, folder: Path) -> None:
        self._training = training
        self._corrupted_share = configuration.corrupted
        self._non_digit_share = configuration.non_digits
        seed = configuration.seed
        copies = configuration.copies if configuration.corrupted else 0
        count = len(training) if configuration.non_digits else 0
        kinds = list(CORRUPTIONS)

        def corrupt(number: int) -> NDArray[np.uint8]:
            generator = np.random.default_rng([seed, 0, number])
            digit = training.images[number % len(training), 0]
            return corrupted(digit, kinds[generator.integers(len(kinds))], generator)

        sampler = Sampler(training)
        sorts, shares = list(NON_DIGITS), [share for _, share in NON_DIGITS.values()]

        def draw(number: int) -> NDArray[np.uint8]:
            generator = np.random.default_rng([seed, 1, number])
            return non_digit(sampler, sorts[generator.choice(len(sorts), p=shares)], generator)

        self._corrupted = _kept(folder / CORRUPTED_FILE, copies * len(training), corrupt, "corrupting digits")
        self._non_digits = _kept(folder / NON_DIGITS_FILE, count, draw, "drawing non-digits")

    def batch(self, places: NDArray[np.intp], generator: Generator) -> Digits:
        """The training digits of these places, each corrupted by the share's chance, and non-digits behind them."""
        digits = self._training.take(places)
        images = digits.images.copy()
        if self._corrupted_share:
            chosen = np.flatnonzero(generator.random(len(places)) < self._corrupted_share)
            copy = generator.integers(len(self._corrupted) // len(self._training), size=len(chosen))
            images[chosen, 0] = self._corrupted[copy * len(self._training) + places[chosen]]
        count = round(self._non_digit_share * len(places))
        if not count:
            return Digits(images, digits.labels)
        drawn = self._non_digits[generator.integers(len(self._non_digits), size=count)][:, None]
        labels = np.concatenate((digits.labels, np.full(count, NONE, np.uint8)))
        return Digits(np.concatenate((images, drawn)), labels)

    def population(self, size: int) -> Iterator[Images]:
        """Every training digit once, in batches, corrupted as in training: what BatchNorm's statistics are to be of."""
        generator = np.random.default_rng(0)
        for first in range(0, len(self._training), size):
            places = np.arange(first, min(first + size, len(self._training)))
            yield self.batch(places, generator).images[: len(places)]


def _kept(path: Path, count: int, make: Callable[[int], NDArray[np.uint8]], task: str) -> NDArray[np.uint8]:
    """The images (count, 28, 28) that `make` gives for each number, from a file if it is there."""
    if not count:
        return np.zeros((0, 28, 28), np.uint8)
    if not path.exists():
        images = np.stack([make(number) for number in track(range(count), task)])
        partial = path.with_suffix(".partial.npy")
        np.save(partial, images)
        partial.replace(path)
    kept: NDArray[np.uint8] = np.load(path)
    return kept
