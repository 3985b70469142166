"""One layer of the network as numbers: operator, hyperparameters, output size, cost.

The size formulas are those of Dumoulin and Visin, "A guide to convolution arithmetic for deep learning"
(arXiv:1603.07285), relationships 6, 7 and 13.
"""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

Operator = Literal["Conv", "Relu", "MaxPool", "Gemm"]
Padding = Literal["valid", "half", "full"]


def convolution_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Output size ⌊(W − F + 2P)/S⌋ + 1 of a convolution along one axis, all in pixels.

    Raises:
        ValueError: the kernel does not fit into the padded input, or a number is out of range.
    """
    if size < 1 or kernel < 1 or stride < 1 or padding < 0:
        raise ValueError("size, kernel and stride are at least 1 and padding at least 0")
    if kernel > size + 2 * padding:
        raise ValueError(f"a kernel of {kernel} does not fit into {size} pixels padded by {padding}")
    return (size - kernel + 2 * padding) // stride + 1


def pooling_size(size: int, kernel: int, stride: int) -> int:
    """Output size ⌊(W − F)/S⌋ + 1 of a pooling along one axis, all in pixels.

    Raises:
        ValueError: as for `convolution_size`.
    """
    return convolution_size(size, kernel, stride)


def transposed_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Output size S·(W − 1) + F − 2P of a transposed convolution along one axis, all in pixels.

    Raises:
        ValueError: the padding leaves no pixel, or a number is out of range.
    """
    if size < 1 or kernel < 1 or stride < 1 or padding < 0:
        raise ValueError("size, kernel and stride are at least 1 and padding at least 0")
    transposed = stride * (size - 1) + kernel - 2 * padding
    if transposed < 1:
        raise ValueError(f"a padding of {padding} leaves nothing of {transposed + 2 * padding} pixels")
    return transposed


def padding_size(padding: Padding, kernel: int) -> int:
    """Pixels added to each side: valid 0, half (F − 1)/2, full F − 1.

    Raises:
        ValueError: half padding asked of an even kernel, for which it is no whole number.
    """
    if padding == "valid":
        return 0
    if padding == "full":
        return kernel - 1
    if kernel % 2 == 0:
        raise ValueError(f"half padding needs an odd kernel, not {kernel}")
    return (kernel - 1) // 2


class Window(NamedTuple):
    """What a convolution or a pooling moves over its input, alike along both axes, all in pixels."""

    kernel: int
    stride: int
    padding: int

    @property
    def attributes(self) -> dict[str, list[int]]:
        """The same as an ONNX node has it."""
        return {"kernel_shape": [self.kernel] * 2, "strides": [self.stride] * 2, "pads": [self.padding] * 4}


class Layer(BaseModel):
    """A named output of the network and how it is computed.

    `name` is the tensor's name in the ONNX graph and `shape` its shape without the batch axis, (channels, height,
    width) or (values,). `kernel`, `stride` and `padding` are in pixels, and None where the operator has none.
    `parameters` and `multiply_adds` count one image through the network as served, BatchNorm folded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    operator: Operator
    shape: tuple[int, ...]
    kernel: int | None = None
    stride: int | None = None
    padding: int | None = None
    parameters: int = 0
    multiply_adds: int = 0

    def size_formula(self, before: int) -> str | None:
        """The size formula with this layer's numbers filled in, of an input of `before` pixels; None without a kernel.

        A pooling's is a convolution's with P = 0.
        """
        if self.kernel is None:
            return None
        return f"⌊({before} − {self.kernel} + 2·{self.padding})/{self.stride}⌋ + 1 = {self.shape[-1]}"

    @property
    def window(self) -> Window:
        """That of a convolution or a pooling.

        Raises:
            ValueError: its operator has none.
        """
        if self.kernel is None or self.stride is None:
            raise ValueError(f"{self.operator} moves no window")
        return Window(self.kernel, self.stride, self.padding or 0)

    @property
    def signed(self) -> bool:
        """Whether its values can be negative: convolutions and linear layers, as the rest follows a ReLU."""
        return self.operator in ("Conv", "Gemm")
