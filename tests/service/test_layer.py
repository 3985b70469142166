"""Sizes of layers, by counting instead of by formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import signal

from service.layer import Layer, convolution_size, padding_size, pooling_size, transposed_size


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 50), st.integers(1, 12), st.integers(1, 12), st.integers(0, 12))
def test_the_output_has_a_place_for_every_position_of_the_kernel(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    """Slid along the padded input by the stride, the kernel has as many positions as the formula says, or none."""
    positions = len(range(0, size + 2 * padding - kernel + 1, stride))
    if positions:
        assert convolution_size(size, kernel, stride, padding) == positions
    else:
        with pytest.raises(ValueError, match=f"^a kernel of {kernel} does not fit into {size} pixels padded by"):
            convolution_size(size, kernel, stride, padding)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 50), st.integers(1, 12), st.integers(1, 12))
def test_pooling_counts_the_windows_that_lie_wholly_inside(size: int, kernel: int, stride: int) -> None:
    """What is left over at the far side is dropped."""
    windows = [start for start in range(0, size, stride) if start + kernel <= size]
    if windows:
        assert pooling_size(size, kernel, stride) == len(windows)
    else:
        with pytest.raises(ValueError, match="does not fit"):
            pooling_size(size, kernel, stride)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 50), st.integers(1, 12), st.integers(1, 12), st.integers(0, 12))
def test_a_transposed_convolution_covers_what_its_kernels_cover(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    """From the first kernel's first cell to the last one's last, less the padding on both sides; or nothing is left."""
    covered = [place * stride + cell for place in range(size) for cell in range(kernel)]
    left = max(covered) + 1 - 2 * padding
    if left >= 1:
        assert transposed_size(size, kernel, stride, padding) == left
        assert convolution_size(left, kernel, stride, padding) == size
    else:
        with pytest.raises(ValueError, match=f"^a padding of {padding} leaves nothing of {max(covered) + 1} pixels"):
            transposed_size(size, kernel, stride, padding)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_the_paddings_are_scipy_s_modes(kernel: int) -> None:
    """Valid, half and full padding give the sizes of SciPy's correlation in the modes valid, same and full."""
    for name, mode in (("valid", "valid"), ("half", "same"), ("full", "full")):
        expected = signal.correlate(np.ones(20), np.ones(kernel), mode=mode).size
        assert convolution_size(20, kernel, 1, padding_size(name, kernel)) == expected  # type: ignore[arg-type]


def test_half_padding_of_an_even_kernel_is_refused() -> None:
    """It would be no whole number; the others are whole for every kernel."""
    assert (padding_size("valid", 4), padding_size("full", 4)) == (0, 3)
    with pytest.raises(ValueError, match=r"^half padding needs an odd kernel, not 4$"):
        padding_size("half", 4)


@pytest.mark.parametrize("numbers", [(0, 1, 1, 0), (5, 0, 1, 0), (5, 1, 0, 0), (5, 1, 1, -1)])
def test_numbers_out_of_range_are_refused(numbers: tuple[int, int, int, int]) -> None:
    """No size, kernel or stride of nothing, and no padding below it."""
    with pytest.raises(ValueError, match="at least 1 and padding at least 0"):
        convolution_size(*numbers)
    with pytest.raises(ValueError, match="at least 1 and padding at least 0"):
        transposed_size(*numbers)


def test_convolutions_and_linear_layers_are_signed() -> None:
    """What follows a ReLU cannot be negative, and pooling follows one."""
    signed = {name: Layer(name=name, operator=name, shape=(1,)).signed for name in ("Conv", "Relu", "MaxPool", "Gemm")}
    assert signed == {"Conv": True, "Relu": False, "MaxPool": False, "Gemm": True}


def test_a_layer_is_frozen_and_knows_its_fields() -> None:
    """It cannot be changed, and neither another operator nor another field is taken."""
    layer = Layer(name="conv1", operator="Conv", shape=(8, 28, 28))
    with pytest.raises(ValidationError):
        layer.name = "other"
    for surplus in ({"operator": "Tanh"}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            Layer.model_validate(layer.model_dump() | surplus)


def test_a_layer_with_a_kernel_has_a_window() -> None:
    """Its numbers, and the same as ONNX wants them: both axes, and both ends of each; others have none."""
    layer = Layer(name="pool1", operator="MaxPool", shape=(8, 14, 14), kernel=3, stride=2, padding=1)
    assert layer.window == (3, 2, 1)
    assert layer.window.attributes == {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    with pytest.raises(ValueError, match=r"^Relu moves no window$"):
        Layer(name="relu1", operator="Relu", shape=(8, 28, 28)).window  # noqa: B018 — it raises
