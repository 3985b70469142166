"""Operators by ONNX Runtime against SciPy and PyTorch, and their sizes against those that come out."""

from typing import Any, get_args

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from scipy import ndimage, signal, special

from service.errors import MalformedError, TooLargeError
from service.layer import Padding, padding_size
from service.operators.kernel import named_kernel
from service.operators.operation import (
    MOST_CELLS,
    MOST_PIXELS,
    MOST_TRANSPOSED_CELLS,
    Operation,
    Operator,
    Size,
)
from tests.conftest import Mnist

Values = NDArray[np.float32]
MODES = {"valid": "valid", "half": "same", "full": "full"}
SIDES = st.integers(1, 24)
STRIDES = st.integers(1, 5)
FILTERS = st.sampled_from(("cross-correlation", "convolution"))


def noise(*shape: int, seed: int = 0, low: float = 0) -> Values:
    """Random values from `low` to 1."""
    return np.random.default_rng(seed).uniform(low, 1, shape).astype(np.float32)


def filtering(operator: Operator, kernel: Values, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> Operation:
    """An operator with a kernel; `padding` is above and beside."""
    return Operation(operator, kernel, Size(kernel.shape[1], kernel.shape[0]), stride, Size(padding[1], padding[0]))


def pooling(operator: Operator, size: int, stride: int) -> Operation:
    """A pooling without a kernel."""
    return Operation(operator, None, Size(size, size), stride, Size(0, 0))


def pixelwise(operator: Operator) -> Operation:
    """An activation of each pixel by itself."""
    return Operation(operator, None, None, 1, Size(0, 0))


def by_torch(function: Any, values: Values, *arguments: Any, **options: Any) -> Values:
    """A function of torch.nn.functional on one map, in float64."""
    found: Values = function(torch.from_numpy(values)[None, None].double(), *arguments, **options)[0, 0].numpy()
    return found


@settings(deadline=None, max_examples=150)
@given(FILTERS, SIDES, SIDES, st.integers(1, 7), st.integers(1, 7), STRIDES, st.sampled_from(list(MODES)))
def test_filters_are_scipy_s(
    operator: Operator, height: int, width: int, rows: int, columns: int, stride: int, padding: Padding
) -> None:
    """Convolution turns the kernel and cross-correlation does not, as SciPy has both, whatever sizes and strides."""
    values, kernel = noise(height, width), noise(rows, columns, seed=1, low=-1)
    if padding == "half" and not (rows % 2 and columns % 2):
        return
    sides = padding_size(padding, rows), padding_size(padding, columns)
    operation = filtering(operator, kernel, stride, sides)
    if height + 2 * sides[0] < rows or width + 2 * sides[1] < columns:
        with pytest.raises(
            MalformedError, match=rf"^{operator}: a kernel of \d+ does not fit into \d+ pixels padded by"
        ):
            operation.run(values)
        return
    function = signal.correlate2d if operator == "cross-correlation" else signal.convolve2d
    padded = np.pad(values.astype(np.float64), [(sides[0], sides[0]), (sides[1], sides[1])])
    # SciPy swaps the two where the kernel is the larger one; padded by ourselves it never is.
    expected = function(padded, kernel.astype(np.float64), mode="valid")[::stride, ::stride]
    np.testing.assert_allclose(operation.run(values), expected, atol=2e-5)


@pytest.mark.parametrize("padding", MODES)
@pytest.mark.parametrize("operator", ["cross-correlation", "convolution"])
def test_the_paddings_are_scipy_s_modes(mnist: Mnist, operator: Operator, padding: Padding) -> None:
    """Valid, half and full padding of a real digit give SciPy's valid, same and full."""
    values = (mnist.images[3] / np.float32(255)).astype(np.float32)
    kernel = noise(5, 3, seed=2, low=-1)
    function = signal.correlate2d if operator == "cross-correlation" else signal.convolve2d
    expected = function(values.astype(np.float64), kernel.astype(np.float64), mode=MODES[padding])
    sides = padding_size(padding, 5), padding_size(padding, 3)
    np.testing.assert_allclose(filtering(operator, kernel, 1, sides).run(values), expected, atol=2e-6)


def test_only_convolution_turns_the_kernel() -> None:
    """Of a single bright pixel convolution makes the kernel as it is, and cross-correlation the kernel turned."""
    kernel = noise(3, 5, seed=3)
    values = np.zeros((7, 9), np.float32)
    values[3, 4] = 1
    for operator, expected in (("convolution", kernel), ("cross-correlation", kernel[::-1, ::-1])):
        found = filtering(operator, kernel, 1, (1, 2)).run(values)  # type: ignore[arg-type]  # these are two of them
        np.testing.assert_allclose(found[2:5, 2:7], expected, atol=1e-7)
        assert np.count_nonzero(found) == kernel.size


def test_a_kernel_that_looks_the_same_turned_makes_no_difference(mnist: Mnist) -> None:
    """Convolution with the Laplacian is cross-correlation; with Sobel's it is its negative."""
    values = (mnist.images[5] / 255).astype(np.float32)
    for name, sign in (("laplacian", 1), ("gaussian", 1), ("sobel-x", -1), ("sobel-y", -1)):
        convolved, correlated = (
            filtering(operator, named_kernel(name)).run(values) for operator in ("convolution", "cross-correlation")
        )
        np.testing.assert_allclose(convolved, sign * correlated, atol=1e-6, err_msg=name)


@settings(deadline=None, max_examples=150)
@given(SIDES, SIDES, st.integers(1, 7), st.integers(1, 7), STRIDES, st.integers(0, 6))
def test_transposed_convolution_is_the_adjoint_of_cross_correlation(
    height: int, width: int, rows: int, columns: int, stride: int, padding: int
) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩ with the same kernel, stride and padding; it is torch's, and its size is by the formula."""
    values, kernel = noise(height, width), noise(rows, columns, seed=1, low=-1)
    sides = min(padding, rows - 1), min(padding, columns - 1)
    operation = filtering("transposed-convolution", kernel, stride, sides)
    expected = tuple(
        stride * (side - 1) + cells - 2 * pad
        for side, cells, pad in zip((height, width), (rows, columns), sides, strict=True)
    )
    if min(expected) < 1:
        with pytest.raises(
            MalformedError, match=r"^transposed-convolution: a padding of \d+ leaves nothing of \d+ pix"
        ):
            operation.run(values)
        return
    spread = operation.run(values)
    assert spread.shape == expected == operation.output(Size(width, height))[::-1]
    weights = torch.from_numpy(kernel)[None, None].double()
    by = by_torch(torch.nn.functional.conv_transpose2d, values, weights, stride=stride, padding=sides)
    np.testing.assert_allclose(spread, by, atol=2e-5)
    other = noise(*spread.shape, seed=2, low=-1)
    gathered = filtering("cross-correlation", kernel, stride, sides).run(other)
    assert gathered.shape == values.shape
    assert np.vdot(spread.astype(np.float64), other) == pytest.approx(
        np.vdot(values.astype(np.float64), gathered), abs=1e-3
    )


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_a_tent_interpolates(mnist: Mnist, stride: int) -> None:
    """Transposed convolution with the bilinear kernel of size 2S − 1 is SciPy's linear zoom of every S-th pixel."""
    values = (mnist.images[8] / 255).astype(np.float32)
    kernel = named_kernel("bilinear", 2 * stride - 1)
    found = filtering("transposed-convolution", kernel, stride, (stride - 1, stride - 1)).run(values)
    expected = ndimage.zoom(values.astype(np.float64), found.shape[0] / 28, order=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(deadline=None, max_examples=150)
@given(SIDES, SIDES, st.integers(1, 9), st.integers(1, 9))
def test_poolings_are_torch_s(height: int, width: int, size: int, stride: int) -> None:
    """Maximum, mean and L2 norm of each window that lies wholly inside, and a clear word where none does."""
    values = noise(height, width)
    functional = torch.nn.functional
    for operator, function, options in (
        ("max-pooling", functional.max_pool2d, {}),
        ("average-pooling", functional.avg_pool2d, {}),
        ("l2-pooling", functional.lp_pool2d, {"norm_type": 2}),
    ):
        operation = pooling(operator, size, stride)  # type: ignore[arg-type]  # these are three of them
        if size > min(height, width):
            with pytest.raises(MalformedError, match=f"^{operator}: a kernel of {size} does not fit into"):
                operation.run(values)
            continue
        expected = by_torch(function, values, kernel_size=size, stride=stride, **options)
        np.testing.assert_allclose(operation.run(values), expected, atol=1e-5, err_msg=operator)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), STRIDES)
def test_weighted_pooling_sums_by_the_kernel(size: int, stride: int) -> None:
    """It is SciPy's correlation of the windows, whose weights sum to 1, so that an even picture stays even."""
    values, kernel = noise(20, 23), named_kernel("gaussian", size)
    operation = filtering("weighted-pooling", kernel, stride)
    expected = signal.correlate2d(values.astype(np.float64), kernel, mode="valid")[::stride, ::stride]
    np.testing.assert_allclose(operation.run(values), expected, atol=1e-6)
    np.testing.assert_allclose(operation.run(np.full_like(values, 0.7)), 0.7, atol=1e-6)


def test_average_pooling_is_scipy_s_uniform_filter(mnist: Mnist) -> None:
    """And max pooling its maximum filter, where windows of three overlap."""
    values = (mnist.images[9] / 255).astype(np.float32)
    for operator, function in (("average-pooling", ndimage.uniform_filter), ("max-pooling", ndimage.maximum_filter)):
        expected = function(values.astype(np.float64), 3)[1:-1, 1:-1]
        found = pooling(operator, 3, 1).run(values)  # type: ignore[arg-type]  # these are two of them
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "function"),
    [("relu", lambda values: np.maximum(values, 0)), ("sigmoid", special.expit), ("tanh", np.tanh)],
)
def test_activations_follow_the_kernel(operator: Operator, function: Any) -> None:
    """Of each pixel by itself, and of a cross-correlation that has a kernel, a stride and a padding."""
    values, kernel = noise(17, 12), 3 * noise(3, 3, seed=1, low=-1)
    np.testing.assert_allclose(pixelwise(operator).run(values), function(values.astype(np.float64)), atol=1e-6)
    operation = filtering(operator, kernel, 2, (1, 1))
    before = signal.correlate2d(values.astype(np.float64), kernel.astype(np.float64), mode="same")[::2, ::2]
    np.testing.assert_allclose(operation.run(values), function(before), atol=1e-6)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(get_args(Operator)), SIDES, SIDES, st.integers(1, 5), st.integers(1, 4))
def test_sizes_formulas_and_bounds_are_those_that_come_out(
    operator: Operator, height: int, width: int, size: int, stride: int
) -> None:
    """What is told beforehand of size and bounds is so; the formula, calculated by Python, gives the size."""
    if operator.endswith("pooling") and operator != "weighted-pooling":
        operation = pooling(operator, size, stride)
    else:
        operation = filtering(operator, noise(size, size, seed=size, low=-1), stride)
    try:
        told = operation.output(Size(width, height))
    except MalformedError:
        return
    found = operation.run(noise(height, width, seed=height))
    assert (told.height, told.width) == found.shape
    formulas = operation.formulas(Size(width, height))
    assert formulas is not None
    for formula, side in zip(formulas, told, strict=True):
        left, _, right = formula.partition(" = ")
        in_python = left.replace("⌊", "int(").replace("⌋", ")").replace("−", "-").replace("·", "*")
        assert eval(in_python) == int(right) == side  # noqa: S307 — of our own making
    low, high = operation.bounds()
    assert low - 1e-5 <= found.min() and found.max() <= high + 1e-5


def test_the_formulas_read_as_in_a_lecture() -> None:
    """Both sides of a picture and a kernel that are not square, and none for a pixel by itself."""
    operation = filtering("convolution", noise(5, 3), 2, (2, 1))
    assert operation.formulas(Size(28, 20)) == ("⌊(28 − 3 + 2·1)/2⌋ + 1 = 14", "⌊(20 − 5 + 2·2)/2⌋ + 1 = 10")
    operation = filtering("transposed-convolution", noise(3, 3), 2, (1, 1))
    assert operation.formulas(Size(28, 20)) == ("2·(28 − 1) + 3 − 2·1 = 55", "2·(20 − 1) + 3 − 2·1 = 39")
    assert pixelwise("relu").formulas(Size(28, 20)) is None
    assert pixelwise("relu").output(Size(28, 20)) == (28, 20)


def test_multiply_adds_are_counted() -> None:
    """A cell of a window each: in the output, or in the input of a transposed convolution; none of a maximum."""
    assert filtering("convolution", noise(3, 3), 1, (1, 1)).multiply_adds(Size(28, 28)) == 28 * 28 * 9
    assert filtering("transposed-convolution", noise(3, 3), 2).multiply_adds(Size(28, 28)) == 28 * 28 * 9
    assert pooling("average-pooling", 2, 2).multiply_adds(Size(28, 28)) == 14 * 14 * 4
    assert pooling("max-pooling", 2, 2).multiply_adds(Size(28, 28)) == 0
    assert pixelwise("tanh").multiply_adds(Size(28, 28)) == 0


def test_brightness_is_kept_where_the_weights_that_meet_sum_to_one() -> None:
    """All of a kernel, or of a transposed convolution those a stride apart: proved on an even picture."""
    for operation, keeps in (
        (filtering("convolution", named_kernel("sharpen")), True),
        (filtering("relu", named_kernel("emboss")), True),
        (filtering("cross-correlation", named_kernel("sobel-x")), False),
        (filtering("transposed-convolution", named_kernel("bilinear"), 2), True),
        (filtering("transposed-convolution", named_kernel("bilinear"), 1), False),
        (filtering("transposed-convolution", named_kernel("box"), 1), True),
        (filtering("transposed-convolution", named_kernel("box"), 2), False),
        (pooling("max-pooling", 2, 2), True),
        (pooling("l2-pooling", 2, 2), False),
        (pixelwise("relu"), True),
        (pixelwise("sigmoid"), False),
    ):
        assert operation.keeps_brightness() == keeps, operation
        inner = operation.run(np.full((20, 20), 0.5, np.float32))[4:-4, 4:-4]
        assert bool(np.allclose(inner, 0.5, atol=1e-5)) == keeps, operation


@pytest.mark.parametrize(
    ("operation", "size", "said"),
    [
        (
            filtering("transposed-convolution", np.ones((1, 1), np.float32), 15),
            Size(1000, 1000),
            f"the output would have 14986×14986 pixels, and at most {MOST_PIXELS:,} are computed",
        ),
        (
            filtering("convolution", np.ones((15, 15), np.float32)),
            Size(1024, 1024),
            f"all windows together would have 229,522,500 cells, and at most {MOST_CELLS:,} are computed",
        ),
        (
            filtering("transposed-convolution", np.ones((15, 15), np.float32)),
            Size(1000, 1000),
            f"all windows together would have 225,000,000 cells, and at most {MOST_TRANSPOSED_CELLS:,} are computed",
        ),
        (
            filtering("convolution", np.ones((15, 15), np.float32), 1, (14, 14)),
            Size(1020, 1020),
            "the output would have 1034×1034 pixels",
        ),
        (pooling("l2-pooling", 15, 1), Size(1024, 1024), "all windows together would have 229,522,500 cells"),
    ],
    ids=["output", "cells", "transposed", "padded", "pooling"],
)
def test_what_would_take_too_long_is_refused(operation: Operation, size: Size, said: str) -> None:
    """By the numbers alone, before anything is computed."""
    with pytest.raises(TooLargeError) as refusal:
        operation.output(size)
    assert said in str(refusal.value)
    with pytest.raises(TooLargeError):
        operation.run(np.zeros((size.height, size.width), np.float32))


@pytest.mark.parametrize("operator", get_args(Operator))
def test_the_graphs_are_onnx(operator: Operator) -> None:
    """The onnx package finds each valid, and its reference computes the same values."""
    pool = operator.endswith("pooling") and operator != "weighted-pooling"
    operation = pooling(operator, 3, 2) if pool else filtering(operator, noise(3, 3, seed=1, low=-1), 2, (1, 1))
    model = onnx.load_from_string(operation.model())
    assert onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = noise(11, 14)
    (expected,) = ReferenceEvaluator(model).run(["output"], {"input": values[None, None]})
    np.testing.assert_allclose(operation.run(values), expected[0, 0], atol=1e-5)
