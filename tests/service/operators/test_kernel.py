"""Kernels: the named ones have the properties that make them what they are; grids of numbers are read or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage, signal

from service.errors import MalformedError
from service.operators.kernel import HEAVIEST, LARGEST, NAMED, named_kernel, read_kernel

WEIGHTS = st.floats(-HEAVIEST, HEAVIEST, width=32)


@pytest.mark.parametrize("name", NAMED)
def test_named_kernels_are_small_and_described(name: str) -> None:
    """Each is float32 of its own size, square, finite, and says what it does."""
    recipe = NAMED[name]
    kernel = named_kernel(name)
    assert kernel.dtype == np.float32 and kernel.shape == (recipe.size, recipe.size) and np.isfinite(kernel).all()
    assert len(recipe.description) > 20
    assert np.array_equal(named_kernel(name, recipe.size), kernel)


@pytest.mark.parametrize(
    ("name", "total"), [("box", 1), ("gaussian", 1), ("sharpen", 1), ("emboss", 1), ("identity", 1)]
)
def test_kernels_of_pictures_sum_to_one(name: str, total: int) -> None:
    """An even picture stays as it is."""
    assert named_kernel(name).sum() == pytest.approx(total)


@pytest.mark.parametrize("name", ["sobel-x", "sobel-y", "laplacian", "outline"])
def test_kernels_of_edges_sum_to_zero(name: str) -> None:
    """An even picture has no edges."""
    assert named_kernel(name).sum() == 0


def test_the_edge_detectors_are_scipy_s() -> None:
    """Sobel along either axis and Laplace, on noise, away from the border."""
    values = np.random.default_rng(1).random((20, 30))
    for name, expected in (
        ("sobel-x", ndimage.sobel(values, axis=1)),
        ("sobel-y", ndimage.sobel(values, axis=0)),
        ("laplacian", ndimage.laplace(values)),
    ):
        found = signal.correlate2d(values, named_kernel(name), mode="valid")
        np.testing.assert_allclose(found, expected[1:-1, 1:-1], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_the_gaussian_is_scipy_s_window(size: int) -> None:
    """Its weights are those of a Gaussian window with σ = size/4, scaled to a sum of 1."""
    window = signal.windows.gaussian(size, size / 4)
    np.testing.assert_allclose(named_kernel("gaussian", size), np.outer(window, window) / window.sum() ** 2, rtol=1e-6)


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_the_box_is_a_mean(size: int) -> None:
    """All its weights are the same, and sum to 1."""
    np.testing.assert_allclose(named_kernel("box", size), np.full((size, size), 1 / size**2), rtol=1e-6)


@pytest.mark.parametrize("size", range(1, LARGEST + 1, 2))
def test_the_identity_and_the_tent_have_their_top_in_the_middle(size: int) -> None:
    """The identity is 1 there and 0 elsewhere; the tent is SciPy's triangle."""
    middle = np.zeros((size, size))
    middle[size // 2, size // 2] = 1
    np.testing.assert_array_equal(named_kernel("identity", size), middle)
    triangle = signal.windows.triang(size)
    np.testing.assert_allclose(named_kernel("bilinear", size), np.outer(triangle, triangle), rtol=1e-6)


def test_sizes_that_a_kernel_has_not_are_refused() -> None:
    """A kernel of fixed numbers has one size, and one with a middle needs an odd one."""
    with pytest.raises(MalformedError, match=r"the kernel sobel-x is 3×3; a size can be chosen of identity, box"):
        named_kernel("sobel-x", 5)
    for name in ("identity", "bilinear"):
        with pytest.raises(
            MalformedError, match=f"the kernel {name} needs an odd size, with a cell in its middle, and"
        ):
            named_kernel(name, 4)


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=LARGEST), elements=WEIGHTS))
def test_numbers_come_back_exactly(kernel: NDArray[np.float32]) -> None:
    """A grid written with the digits that Python gives each number is read as the same float32."""
    text = ";".join(",".join(repr(float(weight)) for weight in row) for row in kernel)
    found = read_kernel(text)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, kernel)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [[1]]),
        ("1,0,-1;2,0,-2;1,0,-1", [[1, 0, -1], [2, 0, -2], [1, 0, -1]]),
        (" 1 , .5 ; -2. , +1e-3 ", [[1, 0.5], [-2, 0.001]]),
        ("1E2,0", [[100, 0]]),
    ],
)
def test_numbers_may_be_written_in_any_usual_way(text: str, expected: list[list[float]]) -> None:
    """Spaces, signs, points without digits on one side, and exponents."""
    np.testing.assert_array_equal(read_kernel(text), np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no number"),
        ("1,", "'' is no number"),
        ("sobel", "'sobel' is no number; it is to be a name (identity, sobel-x"),
        ("nan", "'nan' is no number"),
        ("1,-inf", "'-inf' is no number"),
        ("0x10", "is no number"),
        ("1_000", "is no number"),
        ("١", "is no number"),
        ("1 2", "'1 2' is no number"),
        ("." * 100, f"'{'.' * 40}' is no number"),
        ("1e999", "1e999 is beyond ±1,000,000"),
        ("1" * 8190 + "x", "is no number"),
        ("0." + "3" * 63, "is no number"),
        ("-1000001", "-1000001 is beyond ±1,000,000"),
        ("1,2;3", "row 1 has 2 numbers and row 2 has 1"),
        ("1;2;3,4", "row 1 has 1 numbers and row 3 has 2"),
        (",".join("1" * 16), "1 rows of up to 16 numbers, and at most 15×15"),
        (";".join("1" * 16), "16 rows of up to 1 numbers, and at most 15×15"),
        ("1" * 8193, "it has 8,193 characters, and at most 8,192 are read"),
    ],
)
def test_what_is_no_kernel_is_refused(text: str, said: str) -> None:
    """Each for its own reason, in a sentence that is not as long as what was sent."""
    with pytest.raises(MalformedError) as refusal:
        read_kernel(text)
    assert said in str(refusal.value) and len(str(refusal.value)) < 300
