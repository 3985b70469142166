"""The proof that what serves is what was trained: every digit, every layer, every way of running it.

The reference is the unfolded network in float64. Against it stand the unfolded network in float32, the folded one, and
ONNX Runtime through the engine that serves, at several batch sizes, with graph optimisations on and off.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from service.engine import Engine, Provider
from service.errors import ModelError
from service.manifest import Manifest
from training.errors import ReleaseError
from training.fold import fold
from training.model import ARCHITECTURE, DigitNet

TOLERANCE = 1e-4  # largest |Δ| of a logit or of a value of a feature map
BATCHES = (1, 2, 7, 64, 1000)
_CHUNK = 1000  # images whose activations are held at once, about a quarter of a gigabyte in float64

Values = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Deviation:
    """The largest difference from the reference of one layer, run in one way, and the image where it is."""

    way: str
    layer: str
    difference: float
    image: int
    misread: int  # images whose digit is another one than the reference's; 0 for layers other than the logits

    def __str__(self) -> str:
        digits = f", and {self.misread} images get another digit" if self.misread else ""
        return f"{self.way}: {self.layer} deviates by {self.difference:.2e} at test image {self.image}{digits}"


def verify(
    network: DigitNet,
    temperature: float,
    model: bytes,
    manifest: Manifest,
    images: NDArray[np.uint8],
    provider: Provider = "auto",
) -> list[Deviation]:
    """The largest deviations, one for each way and layer, over images uint8 (n, 1, 28, 28).

    Raises:
        ReleaseError: one is beyond `TOLERANCE`, or a digit is read otherwise; the message has the worst of them.
    """
    ways = list(_ways(network, temperature, model, manifest, provider))
    reference = copy.deepcopy(network).double().eval()
    worst: dict[tuple[str, str], Deviation] = {}
    for start in track(range(0, len(images), _CHUNK), "verify"):
        chunk = images[start : start + _CHUNK]
        expected = _activations(reference, chunk, temperature)
        for name, run in ways:
            for layer, value in run(chunk).items():
                found = _compare(name, layer, value, expected[layer], start)
                known = worst.get((name, layer))
                if known:
                    larger = max(known, found, key=_size)
                    found = Deviation(name, layer, larger.difference, larger.image, known.misread + found.misread)
                worst[name, layer] = found
    deviations = list(worst.values())
    # `not <=` and not `>`: a NaN must fail too.
    failed = [deviation for deviation in deviations if not deviation.difference <= TOLERANCE or deviation.misread]
    if failed:
        first = max(failed, key=lambda deviation: (deviation.misread, _size(deviation)))
        raise ReleaseError(f"not verified in {len(failed)} of {len(deviations)} comparisons, worst {first}")
    return deviations


def _size(deviation: Deviation) -> float:
    """The difference for comparisons, which a NaN would all deny: it counts as larger than every number."""
    return math.inf if math.isnan(deviation.difference) else deviation.difference


class _Torch:
    """A way through PyTorch, divided by the temperature where the network has none folded in."""

    def __init__(self, network: DigitNet, temperature: float = 1.0) -> None:
        self._network = network
        self._temperature = temperature

    def __call__(self, images: NDArray[np.uint8]) -> Values:
        return _activations(self._network, images, self._temperature)


class _Serving:
    """A way through the engine that serves, in batches of one size."""

    def __init__(self, engine: Engine, batch: int) -> None:
        self._engine = engine
        self._batch = batch

    def __call__(self, images: NDArray[np.uint8]) -> Values:
        names = [layer.name for layer in self._engine.manifest.features]
        parts = []
        for start in range(0, len(images), self._batch):
            part = images[start : start + self._batch]
            parts.append(self._engine.inspect(part, names) | {"logits": self._engine.predict(part)[0]})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ways(
    network: DigitNet, temperature: float, model: bytes, manifest: Manifest, provider: Provider
) -> Iterator[tuple[str, _Torch | _Serving]]:
    folded = fold(network, temperature)
    yield "PyTorch float32", _Torch(copy.deepcopy(network).float().eval(), temperature)
    yield "PyTorch float64, folded", _Torch(folded)
    yield "PyTorch float32, folded", _Torch(copy.deepcopy(folded).float())
    for optimise in (True, False):
        engine = opened(model, manifest, provider, optimise=optimise)
        for batch in BATCHES:
            graph = "optimised" if optimise else "as written"
            yield f"ONNX Runtime ({engine.provider}), {graph}, batch {batch}", _Serving(engine, batch)


def opened(model: bytes, manifest: Manifest, provider: Provider, *, optimise: bool = True) -> Engine:
    """The engine that will serve, with the model of that manifest.

    Raises:
        ReleaseError: the engine refuses the model.
    """
    try:
        return Engine(model, manifest, provider=provider, optimise=optimise)
    except ModelError as error:
        raise ReleaseError(f"the engine refuses the model: {error}") from error


@torch.no_grad()
def _activations(network: DigitNet, images: NDArray[np.uint8], temperature: float) -> Values:
    dtype = next(network.parameters()).dtype
    tensors: dict[str, Tensor] = network.activations(torch.tensor(images, dtype=dtype))
    tensors["logits"] = tensors["logits"] / temperature
    return {layer.name: tensors[layer.name].numpy() for layer in ARCHITECTURE}


def _compare(
    way: str, layer: str, value: NDArray[np.floating], expected: NDArray[np.floating], start: int
) -> Deviation:
    if value.shape != expected.shape:
        raise ReleaseError(f"{way}: {layer} has the shape {value.shape}, not {expected.shape}")
    differences = np.abs(value - expected).reshape(len(value), -1).max(axis=1)
    image = int(differences.argmax())  # the first NaN, where there is one
    misread = int((value.argmax(1) != expected.argmax(1)).sum()) if layer == "logits" else 0
    return Deviation(way, layer, float(differences[image]), start + image, misread)
