"""From a request's words to an operation: defaults, what fits together, and what is refused."""

from typing import Any, get_args

import numpy as np
import pytest

from service.errors import MalformedError
from service.operators.catalogue import KINDS, catalogue, choose_operation
from service.operators.kernel import LARGEST, NAMED, named_kernel
from service.operators.operation import MOST_PIXELS, Operator


def test_every_operator_has_its_kind() -> None:
    """The table is complete, and what each takes by itself is an operation."""
    assert tuple(KINDS) == get_args(Operator)
    for operator in KINDS:
        assert choose_operation(operator).operator == operator


@pytest.mark.parametrize(
    ("operator", "kernel", "window", "stride"),
    [
        ("cross-correlation", "sobel-x", 3, 1),
        ("convolution", "sobel-x", 3, 1),
        ("transposed-convolution", "bilinear", 3, 2),
        ("max-pooling", None, 2, 2),
        ("average-pooling", None, 2, 2),
        ("l2-pooling", None, 2, 2),
        ("weighted-pooling", "gaussian", 3, 3),
    ],
)
def test_defaults(operator: Operator, kernel: str | None, window: int, stride: int) -> None:
    """What is taken where nothing is said, without padding."""
    operation = choose_operation(operator)
    assert (operation.window, operation.stride, operation.padding) == ((window, window), stride, (0, 0))
    if kernel is None:
        assert operation.kernel is None
    else:
        np.testing.assert_array_equal(operation.kernel, named_kernel(kernel))


def test_windows_lie_side_by_side_by_default() -> None:
    """The stride of a pooling follows its size, or that of its kernel."""
    assert choose_operation("max-pooling", size=5).stride == 5
    assert choose_operation("max-pooling", size=5, stride=2).stride == 2
    assert choose_operation("weighted-pooling", kernel="box", size=4).stride == 4
    assert choose_operation("weighted-pooling", kernel="1,2;3,4").stride == 2


def test_padding_follows_the_kernel_along_each_axis() -> None:
    """Half and full padding of a kernel that is not square."""
    kernel = "1,2,3;4,5,6;7,8,9;1,1,1;2,2,2"
    for padding, expected in (("valid", (0, 0)), ("half", (1, 2)), ("full", (2, 4))):
        assert choose_operation("convolution", kernel, padding=padding).padding == expected  # type: ignore[arg-type]


def test_an_activation_takes_a_kernel_or_none() -> None:
    """Without one it takes each pixel by itself, with one everything that goes with it."""
    assert choose_operation("relu").window is None
    operation = choose_operation("relu", kernel="sobel-y", stride=2, padding="half")
    assert (operation.window, operation.stride, operation.padding) == ((3, 3), 2, (1, 1))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"operator": "max-pooling", "kernel": "box"}, "kernel: max-pooling takes only size, stride"),
        ({"operator": "l2-pooling", "padding": "half"}, "padding: l2-pooling takes only size, stride"),
        (
            {"operator": "weighted-pooling", "padding": "valid"},
            "padding: weighted-pooling takes only kernel, size, str",
        ),
        ({"operator": "weighted-pooling", "kernel": "1,2"}, "takes a square one, and this is 2 wide and 1 high"),
        ({"operator": "relu", "stride": 2}, "stride: relu takes each pixel by itself, unless it is given a kernel too"),
        ({"operator": "tanh", "size": 3}, "size: tanh takes each pixel by itself"),
        ({"operator": "convolution", "size": 5}, "size: the kernel sobel-x is 3×3"),
        (
            {"operator": "convolution", "kernel": "1,2", "size": 2},
            "size: a kernel of one's own has the size of its num",
        ),
        (
            {"operator": "convolution", "kernel": "1,2", "padding": "half"},
            "padding: half padding needs an odd kernel, not",
        ),
        ({"operator": "convolution", "kernel": "Sobel-X"}, "kernel: 'Sobel-X' is no number; it is to be a name"),
        ({"operator": "convolution", "kernel": ""}, "kernel: '' is no number"),
    ],
)
def test_what_does_not_fit_together_is_refused(words: dict[str, Any], said: str) -> None:
    """The parameter that is too much is named, and what would fit."""
    with pytest.raises(MalformedError) as refusal:
        choose_operation(**words)
    assert said in str(refusal.value)


def test_the_catalogue_has_everything() -> None:
    """Every operator, kernel and limit, with the defaults by name."""
    told = catalogue()
    assert [operator["name"] for operator in told["operators"]] == list(KINDS)
    assert [kernel["name"] for kernel in told["kernels"]] == list(NAMED)
    parameters = {operator["name"]: operator["parameters"] for operator in told["operators"]}
    assert parameters["transposed-convolution"] == {
        "kernel": "bilinear",
        "size": None,
        "stride": 2,
        "padding": "valid",
    }
    assert parameters["max-pooling"] == {"size": 2, "stride": None}
    assert told["limits"]["pixels"] == MOST_PIXELS and told["limits"]["size"] == LARGEST
