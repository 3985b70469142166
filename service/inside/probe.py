"""What the serving network does under questions of one's own: its derivatives, its answers, and those under masks.

All of it is computed from the float32 file, by graphs that stand behind it and use its own weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.engine import Activations, Engine, Images
from service.inside.derivative import derivative_by, seed_of, transposed
from service.inside.masked import LOGITS, PROBABILITIES, mask_of, masked
from service.manifest import Manifest
from service.runtime import Session

_PIECE = 32  # images of a run: more at once are slower each, and need more memory


@dataclass(frozen=True)
class Linear:
    """Values as linear functions of the pixels, each `offsets` + Σ `weights` · pixel, in grey levels 0–255.

    So they are for as long as the same ReLUs pass and the same maxima are taken (the piecewise-linear view of
    G. Montúfar et al., "On the Number of Linear Regions of Deep Neural Networks", arXiv:1402.1869). `weights` are
    float64 (n, height, width), the derivatives that are found in float32, and `offsets` float64 (n,): what is left of
    the values where all pixels are black, summed in float64.
    """

    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]


class Probe:
    """The network of an open engine. What a question needs is made when it is first asked, by one thread at a time.

    Attributes:
        engine: the engine that serves.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def manifest(self) -> Manifest:
        """The contract of the model that is open."""
        return self.engine.manifest

    @cached_property
    def _transposed(self) -> Session:
        return self.engine.beside(transposed(self.manifest))

    @cached_property
    def _masked(self) -> Session:
        return self.engine.beside(masked(self.manifest))

    def gradients(self, images: Images, layer: str, seed: Activations) -> dict[str, Activations]:
        """The derivatives of Σ `seed` · layer by every layer before it, and by the image in grey levels.

        `images` are uint8 (n, 1, 28, 28) and `seed` float32 (n, *shape of the layer); a seed that is 1 at one place
        and 0 elsewhere asks for the derivative of that one value. The answer has `image` and the layers by name in the
        network's order, each float32 (n, *its shape): by how much the value changes for each unit of theirs.

        A kink has no derivative: a ReLU of 0 counts as closed, and of several largest values the first one is taken.

        Raises:
            EngineError: the run failed.
        """
        names = [each.name for each in self.manifest.layers]
        before = [self.manifest.input.name, *names[: names.index(layer)]]
        nothing = np.zeros((len(images), *self.manifest.layers[-1].shape), np.float32)
        seeds = {seed_of(names[-1]): nothing, seed_of(layer): seed}
        found = self._transposed.run([derivative_by(name) for name in before], {before[0]: images, **seeds})
        return dict(zip(before, found.values(), strict=True))

    def linear(self, images: Images, layer: str, seed: Activations) -> Linear:
        """Σ `seed` · layer as a function of each image's pixels; all of it as `gradients` has it.

        Raises:
            EngineError: the run failed.
        """
        derivatives = self.gradients(images, layer, seed) | {layer: seed}
        parameters = self.engine.parameters
        weights = derivatives[self.manifest.input.name][:, 0].astype(np.float64) + 0.0  # no −0 where there is nothing
        offsets = -float(parameters["mean"]) * weights.sum(axis=(1, 2))
        for each in self.manifest.layers:
            if each.parameters and each.name in derivatives:
                by_place = derivatives[each.name].reshape(len(seed), each.shape[0], -1)
                offsets += by_place.sum(axis=2, dtype=np.float64) @ parameters[f"{each.name}.bias"]
        return Linear(weights, offsets)

    def answer(self, images: Images) -> tuple[Activations, Activations]:
        """Logits and probabilities, each float32 (n, 10), of as many images as one likes, uint8 (n, 1, 28, 28).

        Raises:
            EngineError: the run failed.
        """
        pieces = [images[start : start + _PIECE] for start in range(0, len(images), _PIECE)]
        answers = [self.engine.inspect(piece, ["logits", "probabilities"]) for piece in pieces]
        return (
            np.concatenate([answer["logits"] for answer in answers]),
            np.concatenate([answer["probabilities"] for answer in answers]),
        )

    def answer_masked(self, images: Images, masks: Mapping[str, Activations]) -> tuple[Activations, Activations]:
        """Logits and probabilities as `answer` has them, of one image or n, with layers multiplied by masks.

        `masks` are by name of the layer, each float32 as `service.inside.masked.mask_of` says.

        Raises:
            EngineError: the run failed.
        """
        feeds = {mask_of(layer): mask for layer, mask in masks.items()}
        found = self._masked.run([LOGITS, PROBABILITIES], {self.manifest.input.name: images, **feeds})
        return found[LOGITS], found[PROBABILITIES]
