"""What an operator made of a picture, as it is answered: facts, headers, and the picture itself."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from service.encoding import to_npy, to_url
from service.operators.appearance import Appearance, Show, appearance_of, draw, usual
from service.operators.operation import Operation, Size, Values

_IN_ASCII = str.maketrans({"⌊": "floor(", "⌋": ")", "−": "-", "·": "*"})
_INPUT = Appearance("grey", 0, 1)


@dataclass(frozen=True)
class Outcome:
    """Input and output of an operation, each float32 (height, width), those of the input from 0 to 1.

    Attributes:
        show: how the output is shown; None for what suits it.
    """

    operation: Operation
    values: Values
    output: Values
    show: Show | None = None

    @cached_property
    def appearance(self) -> Appearance:
        """How the output is shown."""
        bounds, keeps_brightness = self.operation.bounds(), self.operation.keeps_brightness()
        return appearance_of(self.output, self.show or usual(bounds, keeps_brightness=keeps_brightness))

    def facts(self) -> dict[str, Any]:
        """Everything that is told in JSON, `service.schemas.operators.OperatorAnswer`."""
        operation, size = self.operation, _size(self.values)
        show, low, high = self.appearance
        formulas = operation.formulas(size)
        return {
            "operator": operation.operator,
            "input": size._asdict(),
            "output": _size(self.output)._asdict(),
            "formula": formulas and formulas._asdict(),
            "kernel": operation.kernel,
            "window": operation.window and operation.window._asdict(),
            "stride": operation.stride,
            "padding": operation.padding._asdict(),
            "multiply_adds": operation.multiply_adds(size),
            "minimum": self.output.min(),
            "maximum": self.output.max(),
            "shown": {"show": show, "low": np.float32(low), "high": np.float32(high)},
            "seen": to_url(draw(self.values, _INPUT)),
            "picture": to_url(self.png()),
        }

    def headers(self) -> dict[str, str]:
        """Sizes, formulas in ASCII, the smallest and the largest value, and how they are shown."""
        size, output = _size(self.values), _size(self.output)
        headers = {
            "X-Digitscope-Input": f"{size.width}x{size.height}",
            "X-Digitscope-Output": f"{output.width}x{output.height}",
            "X-Digitscope-Minimum": str(self.output.min()),
            "X-Digitscope-Maximum": str(self.output.max()),
            "X-Digitscope-Show": self.appearance.show,
        }
        if formulas := self.operation.formulas(size):
            headers["X-Digitscope-Width-Formula"] = formulas.width.translate(_IN_ASCII)
            headers["X-Digitscope-Height-Formula"] = formulas.height.translate(_IN_ASCII)
        return headers

    def png(self) -> bytes:
        """The output as a picture of a pixel for each value."""
        return draw(self.output, self.appearance)

    def npy(self) -> bytes:
        """The output in NumPy's NPY format."""
        return to_npy(self.output)


def _size(values: Values) -> Size:
    height, width = values.shape
    return Size(width, height)
