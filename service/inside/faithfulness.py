"""Whether a map of pixels tells the truth: its pixels are taken away, or brought in, and the network is asked again.

These are the deletion and the insertion curve of V. Petsiuk, A. Das and K. Saenko (RISE, arXiv:1806.07421). Here only
pixels with ink have a turn: to blacken one that is black, or to bring it into a black image, changes nothing, and an
order that began with ink would pass for a good one by that alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Images
from service.inside.probe import Probe

STEPS = 28
RANDOM_ORDERS = 5
_SEED = 0

Curve = NDArray[np.float32]


@dataclass(frozen=True)
class Course:
    """The digit as pixels go or come, most supporting ones first, from none to all of those with ink in equal steps.

    `curve` has its probability and `logits` its logit, each (steps + 1,). The areas are the means under them, over a
    width of 1; those of random orders are the means of several.
    """

    curve: Curve
    logits: Curve
    area: float
    random_area: float
    logit_area: float
    random_logit_area: float


@dataclass(frozen=True)
class Faithfulness:
    """A map is the truer the faster the digit goes with its pixels (a small area) and comes with them (a large one)."""

    deletion: Course
    insertion: Course


def measure(probe: Probe, image: Images, maps: Mapping[int, NDArray[np.float32]]) -> dict[int, Faithfulness]:
    """The curves of the maps by digit, each (height, width), of one image, uint8 (1, 1, height, width).

    Raises:
        EngineError: a run failed.
    """
    pixels = image.reshape(-1)
    inked = np.flatnonzero(pixels)
    random = np.random.default_rng(_SEED)
    orders = [inked[np.argsort(-values.reshape(-1)[inked], kind="stable")] for values in maps.values()]
    orders += [random.permutation(inked) for _ in range(RANDOM_ORDERS)]
    taken = np.stack([_taken(order, len(pixels)) for order in orders])
    altered = np.stack((np.where(taken, 0, pixels), np.where(taken, pixels, 0)))  # deletion, insertion
    answers = probe.answer(altered.reshape(-1, *image.shape[1:]))
    logits, probabilities = (values.reshape(2, len(orders), STEPS + 1, -1) for values in answers)

    def course(kind: int, number: int, digit: int) -> Course:
        curves, logit_curves = probabilities[kind, ..., digit], logits[kind, ..., digit]
        areas, logit_areas = _areas(curves), _areas(logit_curves)
        return Course(
            curve=curves[number].copy(),
            logits=logit_curves[number].copy(),
            area=float(areas[number]),
            random_area=float(areas[len(maps) :].mean()),
            logit_area=float(logit_areas[number]),
            random_logit_area=float(logit_areas[len(maps) :].mean()),
        )

    return {
        digit: Faithfulness(course(0, number, digit), course(1, number, digit)) for number, digit in enumerate(maps)
    }


def _taken(order: NDArray[np.intp], pixels: int) -> NDArray[np.bool_]:
    """Which pixels have had their turn after each step, (steps + 1, pixels)."""
    turn = np.full(pixels, pixels)
    turn[order] = np.arange(len(order))
    counts = (len(order) * np.arange(STEPS + 1) + STEPS // 2) // STEPS  # the nearest whole numbers
    taken: NDArray[np.bool_] = turn < counts[:, None]
    return taken


def _areas(curves: Curve) -> NDArray[np.float64]:
    """The areas under curves (…, steps + 1), over a width of 1, float64 (…)."""
    areas: NDArray[np.float64] = np.trapezoid(curves.astype(np.float64), dx=1 / STEPS, axis=-1)
    return areas
