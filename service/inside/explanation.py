"""An answer explained: the maps of one digit or of several, and how true they are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from service.engine import Activations, Images
from service.inside.attribution import SQUARE, UNITS, Attribution, Method, attribute
from service.inside.faithfulness import Faithfulness, measure
from service.inside.probe import Probe
from service.layer import Layer


@dataclass(frozen=True)
class Explanation:
    """Maps by one method.

    Attributes:
        guess, confidence: what the network reads itself, by the float32 file, and with which probability.
        found: the maps, one a digit.
        measured: how true they are, by digit; empty where that was not asked for.
    """

    method: Method
    guess: int
    confidence: np.float32
    found: Sequence[Attribution]
    measured: Mapping[int, Faithfulness]

    @property
    def unit(self) -> str:
        """Of the maps' values."""
        return UNITS[self.method]

    @property
    def maps(self) -> Activations:
        """The only map, float32 (height, width), or all of them, (digits, height, width)."""
        maps = np.stack([each.map for each in self.found])
        return maps if len(maps) > 1 else maps[0]


def explain(
    probe: Probe,
    image: Images,
    method: Method,
    digits: Sequence[int] = (),
    *,
    maps: Layer | None = None,
    size: int = SQUARE,
    faithfulness: bool = False,
) -> Explanation:
    """The maps of one image, uint8 (1, 1, height, width), for digits, or without any for the one that is read.

    `maps` and `size` are as `attribute` has them; with `faithfulness` the maps are measured too.

    Raises:
        UnknownError: Grad-CAM is asked of a model without maps.
        EngineError: a run failed.
    """
    _, (probabilities,) = probe.answer(image)
    guess = int(probabilities.argmax())
    found = attribute(probe, image, method, digits or [guess], maps=maps, size=size)
    measured = measure(probe, image, {each.digit: each.map for each in found}) if faithfulness else {}
    return Explanation(method, guess, probabilities.max(), found, measured)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The maps with what is said of all of them, for `to_json`."""
    digits = [
        {"digit": each.digit, "map": each.map, "bound": each.bound}
        | ({"faithfulness": asdict(explanation.measured[each.digit])} if explanation.measured else {})
        | (asdict(each.completeness) if each.completeness else {})
        for each in explanation.found
    ]
    return {
        "method": explanation.method,
        "prediction": {"digit": explanation.guess, "confidence": explanation.confidence},
        "unit": explanation.unit,
        **(digits[0] if len(digits) == 1 else {"digits": digits}),
    }
