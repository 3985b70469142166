"""Training digits that the network finds alike: near to a digit by a layer's values, or exciting the same channel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.encoding import to_png, to_url
from service.engine import Activations, Engine, Images
from service.inside.index import Index, directions, index_file, load_index
from service.inside.receptive import receptive_fields
from service.layer import Layer

_BATCH = 8  # images a run: with more there is hardly anything gained, and more memory needed


@dataclass(frozen=True)
class TrainingDigit:
    """A digit of MNIST's training set: its label, its place there from 0, and its image, uint8 (28, 28)."""

    label: int
    index: int
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Neighbour(TrainingDigit):
    """One near to a digit, at a distance from 0 to 2."""

    distance: np.float32


@dataclass(frozen=True)
class Exemplar(TrainingDigit):
    """One that excites a channel.

    `at` is the row and column of the channel's largest value `activation`, the first one of equals, and `box` the
    pixels behind that: left, top, width, height, padding included. Both are None where the whole image is behind it.
    """

    activation: np.float32
    at: tuple[int, int] | None
    box: tuple[int, int, int, int] | None


class Neighbours(NamedTuple):
    """The prototypes that are nearest to a digit, nearest first, and the digit that is read in it."""

    digit: int
    neighbours: Sequence[Neighbour]

    @property
    def agreement(self) -> float:
        """The share of them that are that digit."""
        return sum(neighbour.label == self.digit for neighbour in self.neighbours) / len(self.neighbours)


class Similarity:
    """The index of an open model.

    It is read when it is first asked for, and the prototypes go through the network then, so that what they are
    compared by is always of the model that serves.
    """

    def __init__(self, engine: Engine, directory: Path) -> None:
        """`directory` is the model version's."""
        self._engine = engine
        self._directory = directory

    @cached_property
    def index(self) -> Index:
        """The index.

        Raises:
            UnknownError: the version has none.
            ModelError: it is not what the manifest promises.
        """
        return load_index(self._directory, self._engine.manifest)

    @cached_property
    def _prototypes(self) -> Activations:
        """The layer's values for each prototype, at unit length, float32 (prototypes, values)."""
        rows = self.index.prototypes
        manifest = self._engine.manifest
        (layer,) = (layer for layer in manifest.layers if layer.name == index_file(manifest).layer)
        found = np.empty((len(rows), math.prod(layer.shape)), np.float32)
        for start in range(0, len(rows), _BATCH):
            found[start : start + _BATCH], _ = self._values(self.index.images[rows[start : start + _BATCH], None])
        return found

    def neighbours(self, images: Images, count: int) -> Neighbours:
        """So many prototypes, the nearest ones to one image, uint8 (1, 1, 28, 28), and the digit that is read in it.

        Every prototype is compared. Of two that are equally near, the one that comes first in MNIST is nearer. A digit
        that is a prototype itself is at distance 0.

        Raises:
            UnknownError: the version has no index.
            ModelError: the index is not what the manifest promises.
            EngineError: the engine failed.
        """
        prototypes = self._prototypes
        (direction,), (digit,) = self._values(images)
        apart = prototypes - direction  # and not 1 − the product, which is not quite 0 of equal ones
        distances = np.einsum("pv,pv->p", apart, apart) / 2
        nearest = np.argsort(distances, kind="stable")[:count]
        found = zip(self.index.prototypes[nearest], distances[nearest], strict=True)
        return Neighbours(int(digit), [Neighbour(*self._digit(row), distance=distance) for row, distance in found])

    def exemplars(self, layer: Layer, channel: int, count: int) -> list[Exemplar]:
        """The training digits that excite a channel of a layer most, the most excited first.

        A ReLU and a maximum keep the order of what they take, so those of a layer without weights are the ones of the
        layer before it that has some. Values are of the model that serves.

        Raises:
            UnknownError: the version has no index.
            ModelError: the index is not what the manifest promises.
            EngineError: the engine failed.
        """
        layers = self._engine.manifest.layers
        place = layers.index(layer)
        weighted = next(before for before in reversed(layers[: place + 1]) if before.parameters)
        index = self.index
        rows = index.exemplars[weighted.name][channel, :count]
        values = self._engine.inspect(index.images[rows][:, None], [layer.name])[layer.name][:, channel]
        field = receptive_fields(layers)[place]
        found = []
        for row, map_ in zip(rows, values, strict=True):
            at, box = None, None
            if field is not None:
                y, x = divmod(int(map_.argmax()), map_.shape[1])
                at = (y, x)
                left, top = (round(field.start + field.jump * middle - (field.size - 1) / 2) for middle in (x, y))
                box = (left, top, field.size, field.size)
            found.append(Exemplar(*self._digit(row), activation=map_.max(), at=at, box=box))
        return found

    def _digit(self, row: int) -> tuple[int, int, NDArray[np.uint8]]:
        """What a row of the index is as a `TrainingDigit`."""
        index = self.index
        return int(index.labels[row]), int(index.indices[row]), index.images[row]

    def _values(self, images: Images) -> tuple[Activations, NDArray[np.intp]]:
        """The values that neighbours are near in, at unit length, and the digit read, of each image."""
        layer = index_file(self._engine.manifest).layer
        answers = self._engine.inspect(images, [layer, "logits"])
        return directions(answers[layer].reshape(len(images), -1)), answers["logits"].argmax(axis=1)


def as_json(digit: TrainingDigit) -> dict[str, Any]:
    """All that is known of the digit, its image as a PNG in a data URL, for `to_json`."""
    facts = dict(vars(digit))
    image = facts.pop("image")
    return facts | {"image": to_url(to_png(image))}
