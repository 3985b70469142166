"""One operator of a convolutional network on one picture: sizes and cost by formula, values by ONNX Runtime.

The operators are those of Goodfellow, Bengio and Courville, "Deep Learning" (2016), chapter 9: cross-correlation, which
networks call convolution, convolution itself, poolings, and the nonlinearities between them; transposed convolution is
that of Dumoulin and Visin (see `service.layer`), chapter 4.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedError, TooLargeError
from service.graph import Graph
from service.layer import convolution_size, transposed_size
from service.operators.kernel import Kernel
from service.runtime import Session

Values = NDArray[np.float32]
Operator = Literal[
    "cross-correlation",
    "convolution",
    "transposed-convolution",
    "max-pooling",
    "average-pooling",
    "l2-pooling",
    "weighted-pooling",
    "relu",
    "sigmoid",
    "tanh",
]

MOST_PIXELS = 2**20  # of a picture, and of what comes out
MOST_CELLS = 2**26  # of all windows together
MOST_TRANSPOSED_CELLS = 2**24  # ONNX Runtime keeps all the products of a transposed convolution: 64 MiB of these
_POOLINGS: dict[Operator, str] = {"max-pooling": "MaxPool", "average-pooling": "AveragePool"}
_CURVES: dict[Operator, str] = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


class Size(NamedTuple):
    """A width and a height in pixels."""

    width: int
    height: int


class Formulas(NamedTuple):
    """The formulas of an output's width and height, the numbers filled in."""

    width: str
    height: str


@dataclass(frozen=True)
class Operation:
    """An operator with all its numbers, for pictures of any size.

    Attributes:
        kernel: its weights as they were given, (height, width), or None.
        window: of what one output value is computed, or one input pixel is spread over; None for a pixel by itself.
        stride: in pixels, along both axes.
        padding: pixels of 0 on the left and on the right, and above and below.
    """

    operator: Operator
    kernel: Kernel | None
    window: Size | None
    stride: int
    padding: Size

    @property
    def transposed(self) -> bool:
        """Whether the windows lie in the output."""
        return self.operator == "transposed-convolution"

    def output(self, size: Size) -> Size:
        """The output's size, of an input's.

        Raises:
            MalformedError: the window does not fit into the picture, or the padding leaves nothing of the output.
            TooLargeError: the output has too many pixels, or its windows have too many cells.
        """
        if self.window is None:
            return size
        formula = transposed_size if self.transposed else convolution_size
        along = zip(size, self.window, self.padding, strict=True)
        try:
            output = Size(*(formula(pixels, window, self.stride, padding) for pixels, window, padding in along))
        except ValueError as error:
            raise MalformedError(f"{self.operator}: {error}") from error
        if math.prod(output) > MOST_PIXELS:
            raise TooLargeError(
                f"the output would have {output.width}×{output.height} pixels, and at most {MOST_PIXELS:,} are computed"
            )
        cells, most = self._cells(size, output), MOST_TRANSPOSED_CELLS if self.transposed else MOST_CELLS
        if cells > most:
            raise TooLargeError(
                f"all windows together would have {cells:,} cells, and at most {most:,} are computed; a smaller "
                "picture or kernel or a larger stride has fewer"
            )
        return output

    def formulas(self, size: Size) -> Formulas | None:
        """How the output's size follows from an input's; None where every pixel stays in its place."""
        if self.window is None:
            return None
        along = zip(size, self.window, self.padding, self.output(size), strict=True)
        return Formulas(*(self._formula(*numbers) for numbers in along))

    def _formula(self, pixels: int, window: int, padding: int, output: int) -> str:
        if self.transposed:
            return f"{self.stride}·({pixels} − 1) + {window} − 2·{padding} = {output}"
        return f"⌊({pixels} − {window} + 2·{padding})/{self.stride}⌋ + 1 = {output}"

    def multiply_adds(self, size: Size) -> int:
        """One for each cell of each window, padding included; 0 where nothing is multiplied."""
        return 0 if self.operator == "max-pooling" else self._cells(size, self.output(size))

    def _cells(self, size: Size, output: Size) -> int:
        return 0 if self.window is None else math.prod(self.window) * math.prod(size if self.transposed else output)

    def bounds(self) -> tuple[float, float]:
        """What no output value can be below and above, as those of the input are from 0 to 1."""
        low, high = 0.0, 1.0
        if self.kernel is not None:
            low = min(float(np.minimum(weights, 0).sum()) for weights in self._meeting(self.kernel))
            high = max(float(np.maximum(weights, 0).sum()) for weights in self._meeting(self.kernel))
        if self.operator == "l2-pooling" and self.window:
            return 0.0, math.sqrt(math.prod(self.window))
        if self.operator == "sigmoid":
            return 0.0, 1.0
        if self.operator == "tanh":
            return math.tanh(low), math.tanh(high)
        return (max(low, 0.0), max(high, 0.0)) if self.operator == "relu" else (low, high)

    def keeps_brightness(self) -> bool:
        """Whether an even picture comes out as bright as it went in, away from its border."""
        if self.operator in ("l2-pooling", "sigmoid", "tanh"):
            return False
        if self.kernel is None:
            return True
        return all(math.isclose(weights.sum(), 1, abs_tol=1e-5) for weights in self._meeting(self.kernel))

    def _meeting(self, kernel: Kernel) -> list[Kernel]:
        """The weights that meet in an output value: all, or of a transposed convolution every S-th along each axis."""
        if not self.transposed:
            return [kernel]
        phases = range(self.stride)
        return [kernel[y :: self.stride, x :: self.stride] for y in phases for x in phases]

    def run(self, values: Values) -> Values:
        """The output, float32 (height, width), of an input's values, float32 (height, width) from 0 to 1.

        Raises:
            MalformedError, TooLargeError: as `output` has them.
            EngineError: ONNX Runtime failed.
        """
        height, width = values.shape
        self.output(Size(width, height))
        output: Values = Session(self.model()).run(["output"], {"input": values[None, None]})["output"][0, 0]
        return output

    def model(self) -> bytes:
        """The ONNX model that computes `output` from `input`, both float32 (1, 1, height, width)."""
        graph = Graph()
        value = graph.input("input", "float32", [1, 1, "height", "width"])
        if self.kernel is not None:
            value = self._filter(graph, value, self.kernel)
        elif self.window is not None:
            value = self._pool(graph, value, self.window)
        graph.node(_CURVES.get(self.operator, "Identity"), [value], "output")
        return graph.outputs("output").alone(self.operator)

    def _filter(self, graph: Graph, value: str, kernel: Kernel) -> str:
        weights = kernel[::-1, ::-1] if self.operator == "convolution" else kernel
        inputs = [value, graph.constant("kernel", weights[None, None])]
        pads = [self.padding.height, self.padding.width] * 2
        operator = "ConvTranspose" if self.transposed else "Conv"
        return graph.node(operator, inputs, "filtered", strides=[self.stride] * 2, pads=pads)

    def _pool(self, graph: Graph, value: str, window: Size) -> str:
        shape, strides = [window.height, window.width], [self.stride] * 2
        if self.operator in _POOLINGS:
            return graph.node(_POOLINGS[self.operator], [value], "pooled", kernel_shape=shape, strides=strides)
        # ONNX Runtime's own LpPool takes many times as long as a convolution of the squares.
        ones = graph.constant("ones", np.ones((1, 1, *shape), np.float32))
        squares = graph.node("Mul", [value, value], "squares")
        return graph.node("Sqrt", [graph.node("Conv", [squares, ones], "sums", strides=strides)], "pooled")
