"""Why a value is what it is: the terms of its sum, and the pixels that it comes from.

For as long as the same ReLUs pass and the same maxima are taken, a value is a linear function of the pixels, which
`service.inside.probe` finds. The inputs are ONNX Runtime's own float32 values; what is made of them here is computed in
float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Activations, Images
from service.inside.probe import Probe
from service.inside.terms import Place, Terms, terms_of
from service.manifest import NORMALISED

_LARGEST = 24  # terms of a linear layer

Exact = NDArray[np.float64]


@dataclass(frozen=True)
class Behind:
    """A value as a linear function of the pixels in grey levels, `offset` + Σ `products`, as `Linear` has it.

    `weights` and `products`, weight times pixel, are (height, width).
    """

    weights: Exact
    products: Exact
    offset: float

    @property
    def sum(self) -> float:
        """The value that they add up to."""
        return self.offset + float(self.products.sum())


@dataclass(frozen=True)
class Traced:
    """The value at a place as ONNX Runtime computes it, its terms, and what is behind it if that was asked for."""

    place: Place
    value: np.float32
    terms: Terms
    behind: Behind | None = None


def trace_value(probe: Probe, image: Images, place: Place, *, follow: bool = False) -> Traced:
    """The value at a place for one image, uint8 (1, 1, height, width), `follow`ed to the pixels or not.

    Raises:
        EngineError: a run failed.
    """
    engine, name = probe.engine, place.layer.name
    values = engine.inspect(image, [place.source, name])
    value = values[name][0][place.index]
    terms = terms_of(place, values[place.source][0], engine.parameters)
    if not follow:
        return Traced(place, value, terms)
    seed = np.zeros((1, *place.layer.shape), np.float32)
    seed[0][place.index] = 1
    linear = probe.linear(image, name, seed)
    weights, offset = linear.weights[0], float(linear.offsets[0])
    return Traced(place, value, terms, Behind(weights, weights * image[0, 0] + 0.0, offset))  # no −0


def as_json(traced: Traced, parameters: Mapping[str, Activations], most: int | None) -> dict[str, Any]:
    """The value with so many of its terms, the largest first, for `to_json`.

    Without a number these are all in their order, or of a linear layer, which has hundreds, the 24 largest.
    """
    place, terms = traced.place, traced.terms
    linear = place.layer.operator == "Gemm"
    scale = {name: float(parameters[name]) for name in ("mean", "std")}
    return {
        "layer": place.layer.name,
        "operator": place.layer.operator,
        "channel": place.channel,
        "y": place.y,
        "x": place.x,
        "value": traced.value,
        "exact": terms.sum,
        "difference": float(traced.value) - terms.sum,
        "source": place.source,
        "normalisation": scale if place.source == NORMALISED else None,
        "bias": terms.bias,
        **_listed(terms, most or (_LARGEST if linear else None)),
        "pixels": traced.behind and _followed(traced.behind, float(traced.value)),
    }


def _listed(terms: Terms, most: int | None) -> dict[str, Any]:
    """The terms one by one, and those that are left out as one sum."""
    product = terms.product
    order = np.arange(len(product)) if most is None else np.argsort(-np.abs(product), kind="stable")[:most]
    columns = {
        "channel": terms.channel[order].tolist(),
        "y": [None] * len(order) if terms.y is None else terms.y[order].tolist(),
        "x": [None] * len(order) if terms.x is None else terms.x[order].tolist(),
        "weight": terms.weight[order],
        "input": terms.input[order],
        "product": product[order].tolist(),
        "padding": terms.padding[order].tolist(),
        "running": (terms.bias + np.cumsum(product[order])).tolist(),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    left = np.delete(product, order)
    return {"terms": rows, "rest": {"terms": len(left), "sum": float(left.sum())}}


def _followed(behind: Behind, value: float) -> dict[str, Any]:
    return {
        "offset": behind.offset,
        "weights": behind.weights,
        "products": behind.products,
        "exact": behind.sum,
        "difference": value - behind.sum,
    }
