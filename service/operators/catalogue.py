"""Which operators there are, what each takes, and how the words of a request become one of them."""

from typing import Any, NamedTuple

from service.errors import MalformedError
from service.layer import Padding, padding_size
from service.operators.appearance import SHOWS
from service.operators.kernel import LARGEST, NAMED, Kernel, named_kernel, read_kernel
from service.operators.operation import (
    MOST_CELLS,
    MOST_PIXELS,
    MOST_TRANSPOSED_CELLS,
    Operation,
    Operator,
    Size,
)


class Kind(NamedTuple):
    """What an operator takes, and what it takes where a request leaves it open.

    Attributes:
        description: what it computes.
        takes: its parameters, of those that follow.
        kernel: by name; None where there can be none.
        size: of the window or kernel; None for the kernel's own.
        stride: in pixels; None for the window's size, which lays windows side by side.
        padding: by name.
    """

    description: str
    takes: tuple[str, ...]
    kernel: str | None = None
    size: int | None = None
    stride: int | None = 1
    padding: Padding = "valid"


_FILTER = ("kernel", "size", "stride", "padding")
_POOLING = ("size", "stride")

KINDS: dict[Operator, Kind] = {
    "cross-correlation": Kind(
        "lays the kernel as it is over each window and sums the products: what networks compute and call convolution",
        _FILTER,
        kernel="sobel-x",
    ),
    "convolution": Kind(
        "turns the kernel by 180° before it lays it over each window, as mathematics has it; with a kernel that looks "
        "the same then, it is cross-correlation",
        _FILTER,
        kernel="sobel-x",
    ),
    "transposed-convolution": Kind(
        "lays the kernel times each input pixel into an output that is larger by the stride, and sums where they "
        "overlap: the adjoint of cross-correlation with the same kernel, stride and padding",
        _FILTER,
        kernel="bilinear",
        stride=2,
    ),
    "max-pooling": Kind("takes the largest value of each window", _POOLING, size=2, stride=None),
    "average-pooling": Kind("takes the mean of each window", _POOLING, size=2, stride=None),
    "l2-pooling": Kind("takes the root of the sum of the squares of each window", _POOLING, size=2, stride=None),
    "weighted-pooling": Kind(
        "sums each window by the weights of a square kernel; the gaussian one makes it a mean in which the middle of "
        "the window counts most",
        ("kernel", *_POOLING),
        kernel="gaussian",
        stride=None,
    ),
    "relu": Kind("takes max(0, x) of each pixel x or, with a kernel, of its cross-correlation", _FILTER),
    "sigmoid": Kind("takes 1/(1 + exp(−x)) of each pixel x or, with a kernel, of its cross-correlation", _FILTER),
    "tanh": Kind("takes the hyperbolic tangent of each pixel or, with a kernel, of its cross-correlation", _FILTER),
}


def catalogue() -> dict[str, Any]:
    """All that can be asked for, `service.schemas.operators.OperatorsAnswer`: operators, kernels, shows and limits."""
    return {
        "operators": [
            {
                "name": name,
                "description": kind.description,
                "parameters": {parameter: getattr(kind, parameter) for parameter in kind.takes},
            }
            for name, kind in KINDS.items()
        ],
        "kernels": [
            {
                "name": name,
                "description": recipe.description,
                "size": recipe.size,
                "sized": recipe.sized,
                "odd": recipe.odd,
                "values": named_kernel(name),
            }
            for name, recipe in NAMED.items()
        ],
        "shows": [{"name": name, "description": description} for name, description in SHOWS.items()],
        "limits": {
            "pixels": MOST_PIXELS,
            "size": LARGEST,
            "stride": LARGEST,
            "cells": MOST_CELLS,
            "transposed_cells": MOST_TRANSPOSED_CELLS,
        },
    }


def choose_operation(
    operator: Operator,
    kernel: str | None = None,
    size: int | None = None,
    stride: int | None = None,
    padding: Padding | None = None,
) -> Operation:
    """The operation that a request asks for; what is None, the operator's `Kind` decides.

    `kernel` is the name of one or rows of numbers; `size` and `stride` are at least 1, in pixels.

    Raises:
        MalformedError: the operator does not take one of them, or there is no such kernel, or they do not fit together.
    """
    kind = KINDS[operator]
    given = {"kernel": kernel, "size": size, "stride": stride, "padding": padding}
    asked = [name for name, value in given.items() if value is not None]
    for name in asked:
        if name not in kind.takes:
            raise MalformedError(f"{name}: {operator} takes only {', '.join(kind.takes)}")
    chosen = kind.kernel if kernel is None else kernel
    if chosen is not None:
        weights = _weights(chosen, size)
        height, width = weights.shape
        if operator == "weighted-pooling" and height != width:
            raise MalformedError(f"kernel: {operator} takes a square one, and this is {width} wide and {height} high")
        window = Size(width, height)
    elif kind.size is not None:
        weights = None
        window = Size(size or kind.size, size or kind.size)
    elif asked:
        raise MalformedError(f"{asked[0]}: {operator} takes each pixel by itself, unless it is given a kernel too")
    else:
        return Operation(operator, kernel=None, window=None, stride=1, padding=Size(0, 0))
    try:
        sides = Size(*(padding_size(padding or kind.padding, side) for side in window))
    except ValueError as error:
        raise MalformedError(f"padding: {error}") from error
    return Operation(operator, weights, window, stride or kind.stride or window.width, sides)


def _weights(kernel: str, size: int | None) -> Kernel:
    if kernel in NAMED:
        return named_kernel(kernel, size)
    weights = read_kernel(kernel)
    if size is not None:
        raise MalformedError("size: a kernel of one's own has the size of its numbers; named ones can be given one")
    return weights
