"""The network's operators as PyTorch computes them, against SciPy, NumPy and enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import linalg, signal
from torch import nn
from torch.nn import functional

from service.layer import Padding, convolution_size, padding_size, pooling_size
from training.data import Digits
from training.model import DigitNet

Array = NDArray[np.float64]
QUICK = settings(deadline=None, max_examples=40)


def whole_numbers(*shape: int) -> st.SearchStrategy[Array]:
    """Arrays whose products and sums floating point holds exactly."""
    return arrays(np.float64, shape, elements=st.integers(-9, 9).map(float))


matrices = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(lambda shape: whole_numbers(*shape))


def conv2d(image: Array, kernel: Array, padding: tuple[int, int] = (0, 0)) -> Array:
    """PyTorch's convolution of one channel."""
    result = functional.conv2d(torch.tensor(image)[None, None], torch.tensor(kernel)[None, None], padding=padding)
    return result[0, 0].numpy()


@pytest.mark.parametrize("name", ["conv1", "conv2"])
def test_convolution_is_scipy_s_correlation_summed_over_channels(network: DigitNet, digits: Digits, name: str) -> None:
    """On real digits, each output channel is the sum of its input channels' correlations, and its bias."""
    network.double()
    values = network.activations(torch.tensor(digits.images[:2]).double())
    taken = (torch.tensor(digits.images[:2]).double() - 33.3) / 78.6 if name == "conv1" else values["pool1"]
    module = getattr(network, name)
    weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
    expected = [
        [
            sum(signal.correlate2d(channel, plane, mode="same") for channel, plane in zip(image, kernel, strict=True))
            + offset
            for kernel, offset in zip(weight, bias, strict=True)
        ]
        for image in taken.detach().numpy()
    ]
    np.testing.assert_allclose(module(taken).detach().numpy(), np.array(expected), rtol=0, atol=1e-12)


def test_batchnorm_trains_on_mini_batch_statistics(network: DigitNet, digits: Digits) -> None:
    """In training mode its output follows its equations for the batch, and the population statistics move to them."""
    network.double()
    norm = network.norm1.train()
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    before = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
    gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    values = network.conv1(torch.tensor(digits.images[:6]).double() / 255)
    x = values.detach().numpy()
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    standardised = (x - mean[:, None, None]) / np.sqrt(variance + norm.eps)[:, None, None]
    expected = gamma[:, None, None] * standardised + beta[:, None, None]
    np.testing.assert_allclose(norm(values).detach().numpy(), expected, rtol=0, atol=1e-10)
    count = x.size / 8
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.9 * before[0] + 0.1 * mean, rtol=1e-12)
    unbiased = variance * count / (count - 1)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 * before[1] + 0.1 * unbiased, rtol=1e-12)


def test_batchnorm_serves_with_population_statistics(network: DigitNet, digits: Digits) -> None:
    """In eval mode its output follows the equations for the statistics that it keeps, which stay as they are."""
    network.double()
    norm = network.norm1
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
    values = network.conv1(torch.tensor(digits.images[:6]).double() / 255)
    gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    factor = gamma / np.sqrt(variance + norm.eps)
    expected = (values.detach().numpy() - mean[:, None, None]) * factor[:, None, None] + beta[:, None, None]
    np.testing.assert_allclose(norm(values).detach().numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(norm.running_mean.numpy(), mean)
    np.testing.assert_array_equal(norm.running_var.numpy(), variance)


def test_batchnorm_s_gradients_are_the_analytic_ones(network: DigitNet) -> None:
    """Backward through the module equals the derivatives on paper, and autograd through its elementary operations."""
    norm = network.double().norm1.train()
    assert isinstance(norm, nn.BatchNorm2d)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 8, 5, 5, generator=generator, dtype=torch.float64).requires_grad_()
    arriving = torch.randn(4, 8, 5, 5, generator=generator, dtype=torch.float64)
    of_module = torch.autograd.grad(norm(x), (x, norm.weight, norm.bias), arriving)

    axes, over = (0, 2, 3), (slice(None), None, None)
    values, dy = x.detach().numpy(), arriving.numpy()
    deviation = np.sqrt(values.var(axes) + norm.eps)
    standardised = (values - values.mean(axes)[over]) / deviation[over]
    d_gamma, d_beta = (dy * standardised).sum(axes), dy.sum(axes)
    count = values.size / 8
    d_x = (norm.weight.detach().numpy() / deviation)[over] * (
        dy - d_beta[over] / count - standardised * d_gamma[over] / count
    )
    for got, expected in zip(of_module, (d_x, d_gamma, d_beta), strict=True):
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-12)

    centred = x - x.mean(axes, keepdim=True)
    spread = (centred.square().mean(axes, keepdim=True) + norm.eps).sqrt()
    by_hand = centred / spread * norm.weight[over] + norm.bias[over]
    for got, exact in zip(of_module, torch.autograd.grad(by_hand, (x, norm.weight, norm.bias), arriving), strict=True):
        torch.testing.assert_close(got, exact, rtol=0, atol=1e-12)


@QUICK
@given(st.integers(2, 11), st.integers(2, 11), st.data())
def test_max_pooling_takes_each_window_s_maximum(height: int, width: int, data: st.DataObject) -> None:
    """The network's pooling equals NumPy's maximum over 2×2 windows; an odd last row or column is left out."""
    image = data.draw(whole_numbers(height, width))
    pooled = DigitNet(0, 1).pool(torch.tensor(image)[None])[0].numpy()
    np.testing.assert_array_equal(pooled, sliding_window_view(image, (2, 2))[::2, ::2].max((2, 3)))


@pytest.mark.parametrize(("down", "right"), [(0, 1), (0, -1), (1, 0), (-1, 0)])
def test_pooled_digits_change_less_under_a_shift(network: DigitNet, digits: Digits, down: int, right: int) -> None:
    """Of 500 real digits moved by a pixel, the pooled map changes by less than 85 % of the digit's own change.

    Change is the Euclidean norm of the difference, relative to the norm of what is moved.
    """
    images = torch.tensor(digits.images[:500]).double()
    moved = torch.roll(images, (down, right), (2, 3))  # MNIST's border is black, so nothing comes in at the far side

    def change(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return ((before - after).square().sum((1, 2, 3)) / before.square().sum((1, 2, 3))).sqrt()

    unpooled, pooled = change(images, moved), change(network.pool(images), network.pool(moved))
    assert pooled.mean() < 0.85 * unpooled.mean()
    assert (pooled < unpooled).double().mean() > 0.95


def test_a_shift_within_the_window_changes_nothing(network: DigitNet, digits: Digits) -> None:
    """Ink in the left columns of the windows, moved right by a pixel, gives the very same pooled map."""
    images = torch.tensor(digits.images[:50]).double()
    images[..., 1::2] = 0
    moved = torch.roll(images, 1, 3)
    assert (moved != images).any()
    assert torch.equal(network.pool(moved), network.pool(images))


def toeplitz(kernel: Array, height: int, width: int) -> Array:
    """The matrix of a valid correlation with `kernel`: Toeplitz blocks, themselves placed as in a Toeplitz matrix."""
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    blocks = [
        linalg.toeplitz(np.eye(1, columns)[0] * row[0], np.concatenate([row, np.zeros(width - len(row))]))
        for row in kernel
    ]
    matrix = np.zeros((rows, columns, height, width))
    for top, (shift, block) in itertools.product(range(rows), enumerate(blocks)):
        matrix[top, :, top + shift, :] = block
    return matrix.reshape(rows * columns, height * width)


@pytest.mark.parametrize("size", [3, 5])
def test_convolution_is_a_product_with_a_toeplitz_matrix(digits: Digits, size: int) -> None:
    """On a real digit the convolution is that matrix's product, and the transposed convolution its transpose's."""
    image = digits.images[0, 0] / 255
    kernel = np.random.default_rng(size).normal(size=(size, size))
    matrix = toeplitz(kernel, 28, 28)
    out = conv2d(image, kernel)
    np.testing.assert_allclose((matrix @ image.ravel()).reshape(out.shape), out, rtol=0, atol=1e-12)
    back = functional.conv_transpose2d(torch.tensor(out)[None], torch.tensor(kernel)[None, None])[0].numpy()
    np.testing.assert_allclose((matrix.T @ out.ravel()).reshape(28, 28), back, rtol=0, atol=1e-12)


@QUICK
@given(matrices, matrices)
def test_full_convolution_commutes(a: Array, b: Array) -> None:
    """With one operand turned by 180° and full padding, PyTorch's operator is convolution: a∗b = b∗a, as SciPy's."""

    def convolve(image: Array, kernel: Array) -> Array:
        height, width = (padding_size("full", size) for size in kernel.shape)
        return conv2d(image, kernel[::-1, ::-1].copy(), (height, width))

    np.testing.assert_array_equal(convolve(a, b), convolve(b, a))
    np.testing.assert_array_equal(convolve(a, b), signal.convolve2d(a, b, mode="full"))


@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_transposed_convolution_is_a_correlation_over_full_padding(kernel: int) -> None:
    """It equals correlation with turned kernels, channels exchanged, padded by F − 1; SciPy and autograd agree."""
    generator = torch.Generator().manual_seed(kernel)
    weight = torch.randn(3, 2, kernel, kernel, generator=generator, dtype=torch.float64)
    y = torch.randn(1, 3, 6, 6, generator=generator, dtype=torch.float64)
    transposed = functional.conv_transpose2d(y, weight)

    turned = weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(
        transposed, functional.conv2d(y, turned, padding=padding_size("full", kernel)), rtol=0, atol=1e-12
    )
    by_scipy = [
        sum(signal.correlate2d(y[0, i].numpy(), turned[o, i].numpy(), mode="full") for i in range(3)) for o in range(2)
    ]
    np.testing.assert_allclose(transposed[0].numpy(), np.array(by_scipy), rtol=0, atol=1e-12)

    x = torch.zeros(1, 2, 5 + kernel, 5 + kernel, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(functional.conv2d(x, weight), x, y)
    torch.testing.assert_close(transposed, gradient, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.sampled_from(["valid", "half", "full"]))
def test_the_convolution_formula_is_the_size_of_a_tensor(size: int, kernel: int, stride: int, name: Padding) -> None:
    """For every size, kernel and stride, under each padding, PyTorch's tensor is as long, or both refuse."""
    if name == "half" and kernel % 2 == 0:
        kernel += 1
    padding = padding_size(name, kernel)
    image, weight = torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel)
    if kernel > size + 2 * padding:
        with pytest.raises(ValueError, match="does not fit"):
            convolution_size(size, kernel, stride, padding)
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            functional.conv2d(image, weight, stride=stride, padding=padding)
        return
    expected = functional.conv2d(image, weight, stride=stride, padding=padding).shape[-1]
    assert convolution_size(size, kernel, stride, padding) == expected
    if stride == 1:
        assert expected == size + {"valid": 1 - kernel, "half": 0, "full": kernel - 1}[name]


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_the_pooling_formula_is_the_size_of_a_tensor(size: int, kernel: int, stride: int) -> None:
    """For every window that fits, PyTorch's pooled tensor is as long; with F = S it is ⌊W/F⌋."""
    kernel = min(kernel, size)
    expected = functional.max_pool2d(torch.zeros(1, size, size), kernel, stride).shape[-1]
    assert pooling_size(size, kernel, stride) == expected
    assert pooling_size(size, kernel, kernel) == size // kernel


@pytest.mark.parametrize("chance", [0.25, 0.5])
def test_dropout_s_mean_over_all_masks_is_the_inference_network(chance: float) -> None:
    """With five active units, fc2 behind Dropout takes 32 values; weighted by chance their mean is eval's output.

    So it is because fc2 is linear: behind a Softmax the means differ.
    """
    torch.manual_seed(1)
    network = DigitNet(0, 1, chance).double()
    hidden = torch.zeros(600, dtype=torch.float64)
    active = [3, 50, 222, 400, 599]
    hidden[active] = torch.tensor([3.0, 5.0, 8.0, 4.0, 6.0], dtype=torch.float64) * 3
    dropped = network.dropout.train()(hidden.expand(8192, 600))
    found = {tuple(row): row for row in (dropped[:, active] != 0).tolist()}
    assert len(found) == 32
    weight, bias = network.fc2.weight.detach().numpy(), network.fc2.bias.detach().numpy()
    with torch.no_grad():
        outputs = network.fc2(dropped).numpy()
        served = network.fc2(network.dropout.eval()(hidden)).numpy()
    mean, softmax_mean = np.zeros(10), np.zeros(10)
    for mask in itertools.product([False, True], repeat=5):
        row = int(((dropped[:, active] != 0) == torch.tensor(mask)).all(1).nonzero()[0])
        kept = np.zeros(600)
        kept[active] = np.array(mask)
        np.testing.assert_allclose(outputs[row], weight @ (kept * hidden.numpy() / (1 - chance)) + bias, atol=1e-12)
        probability = math.prod(1 - chance if keep else chance for keep in mask)
        mean += probability * outputs[row]
        softmax_mean += probability * np.exp(outputs[row]) / np.exp(outputs[row]).sum()
    np.testing.assert_allclose(mean, served, rtol=0, atol=1e-12)
    assert np.abs(softmax_mean - np.exp(served) / np.exp(served).sum()).max() > 0.01
