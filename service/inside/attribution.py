"""Which pixels the network's answer rests on: four ways to a signed map of the image, positive where it supports.

All four ask the network that serves for the logit of one digit, whatever it answers itself:

- saliency: the derivative of the logit by each pixel (K. Simonyan, A. Vedaldi and A. Zisserman, arXiv:1312.6034,
  section 3, here with its sign);
- contributions: that derivative times the pixel (A. Shrikumar et al., arXiv:1605.01713; M. Ancona et al.,
  arXiv:1711.06104);
- gradcam: the maps of a layer, each weighted by the mean of the logit's derivative by it (R. Selvaraju et al.,
  arXiv:1610.02391, here with its sign);
- occlusion: by how much the logit falls when a black square covers the pixel (M. Zeiler and R. Fergus,
  arXiv:1311.2901, section 4.2), a mean over the squares that do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from service.engine import Activations, Images
from service.errors import UnknownError
from service.inside.layers import layer_named
from service.inside.probe import Probe
from service.layer import Layer
from service.manifest import Manifest

Method = Literal["occlusion", "gradcam", "saliency", "contributions"]

UNITS: dict[Method, str] = {
    "saliency": "logits per grey level",
    "contributions": "logits",
    "gradcam": "logits",
    "occlusion": "logits",
}
SQUARE = 3  # pixels of the occluding square's side: the most faithful one, see benchmarks/faithfulness.md
LARGEST_SQUARE = 14


@dataclass(frozen=True)
class Completeness:
    """A logit as the sum of the pixels' contributions and an offset, computed in float64 from float32 derivatives.

    `offset` is what the biases contribute, and the mean that is taken from every pixel; `logit` is ONNX Runtime's
    and `difference` is that less `sum` + `offset`.
    """

    sum: float
    offset: float
    logit: float
    difference: float


@dataclass(frozen=True)
class Attribution:
    """The map of one digit's logit, float32 (height, width), and of contributions how they add up."""

    digit: int
    map: Activations
    completeness: Completeness | None = None

    @property
    def bound(self) -> float:
        """The largest magnitude of the map."""
        return float(np.abs(self.map).max())


def choose_maps(manifest: Manifest, name: str | None) -> Layer:
    """The layer of Grad-CAM by its name: by default the last convolution's, after its ReLU if there is one.

    Raises:
        UnknownError: the model has no such layer, or it has no maps.
    """
    having = [layer for layer in manifest.features if len(layer.shape) == 3]
    if name is not None:
        return layer_named(manifest, name, having, "has no maps, which gradcam takes")
    convolved = [layer for layer in having if layer.operator != "MaxPool"]
    if not convolved:
        raise UnknownError("gradcam takes a layer of maps, and the model has none")
    return convolved[-1]


def attribute(
    probe: Probe,
    image: Images,
    method: Method,
    digits: Sequence[int],
    *,
    maps: Layer | None = None,
    size: int = SQUARE,
) -> list[Attribution]:
    """The maps of one image, uint8 (1, 1, height, width), one for the logit of each of the digits.

    `maps` is the layer of Grad-CAM, by default that of `choose_maps`, and `size` the side of the occluding square in
    pixels.

    Raises:
        UnknownError: Grad-CAM is asked of a model without maps.
        EngineError: a run failed.
    """
    if method == "saliency":
        return _saliency(probe, image, digits)
    if method == "contributions":
        return _contributions(probe, image, digits)
    if method == "gradcam":
        return _gradcam(probe, image, digits, maps or choose_maps(probe.manifest, None))
    return _occlusion(probe, image, digits, size)


def _map(values: NDArray[Any]) -> Activations:
    """Float32, and no −0 where there is nothing."""
    return values.astype(np.float32) + np.float32(0)


def _seed(probe: Probe, digits: Sequence[int]) -> Activations:
    """What asks for the digits' logits one by one, (digits, 10)."""
    return np.eye(probe.manifest.layers[-1].shape[0], dtype=np.float32)[list(digits)]


def _gradients(probe: Probe, image: Images, digits: Sequence[int]) -> dict[str, Activations]:
    """The derivatives of each digit's logit, (digits, *shape)."""
    images = np.repeat(image, len(digits), axis=0)
    return probe.gradients(images, probe.manifest.layers[-1].name, _seed(probe, digits))


def _saliency(probe: Probe, image: Images, digits: Sequence[int]) -> list[Attribution]:
    derivatives = _gradients(probe, image, digits)[probe.manifest.input.name]
    return [Attribution(digit, _map(derivative[0])) for digit, derivative in zip(digits, derivatives, strict=True)]


def _contributions(probe: Probe, image: Images, digits: Sequence[int]) -> list[Attribution]:
    """Derivative times pixel, and what the derivative's own linear function has at black."""
    images = np.repeat(image, len(digits), axis=0)
    linear = probe.linear(images, probe.manifest.layers[-1].name, _seed(probe, digits))
    contributed = linear.weights * image[0, 0] + 0.0  # no −0
    logits, _ = probe.answer(image)
    found = []
    for digit, values, offset in zip(digits, contributed, linear.offsets.tolist(), strict=True):
        total, logit = float(values.sum()), float(logits[0, digit])
        completeness = Completeness(total, offset, logit, logit - (total + offset))
        found.append(Attribution(digit, _map(values), completeness))
    return found


def _gradcam(probe: Probe, image: Images, digits: Sequence[int], layer: Layer) -> list[Attribution]:
    weights = _gradients(probe, image, digits)[layer.name].mean(axis=(2, 3))
    activations = probe.engine.inspect(image, [layer.name])[layer.name][0]
    maps = np.tensordot(weights, activations, axes=1)
    height, width = image.shape[2:]
    resized = [Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR) for values in maps]
    return [Attribution(digit, _map(np.asarray(values))) for digit, values in zip(digits, resized, strict=True)]


def _occlusion(probe: Probe, image: Images, digits: Sequence[int], size: int) -> list[Attribution]:
    """The mean fall over the squares that cover a pixel: size² of them, since squares may lie beyond the border."""
    height, width = image.shape[2:]
    corners = [(y, x) for y in range(1 - size, height) for x in range(1 - size, width)]
    squares = [np.s_[0, max(y, 0) : y + size, max(x, 0) : x + size] for y, x in corners]
    inked = [number for number, square in enumerate(squares) if image[0][square].any()]  # the others change nothing
    images = np.repeat(image, 1 + len(inked), axis=0)  # the first one is not covered
    for covered, number in zip(images[1:], inked, strict=True):
        covered[squares[number]] = 0
    logits = probe.answer(images)[0][:, list(digits)].astype(np.float64)
    falls = np.zeros((len(squares), len(digits)))
    falls[inked] = logits[0] - logits[1:]
    covering = falls.reshape(height + size - 1, width + size - 1, -1)
    maps = sliding_window_view(covering, (size, size), axis=(0, 1)).mean(axis=(3, 4))
    return [Attribution(digit, _map(maps[..., number])) for number, digit in enumerate(digits)]
