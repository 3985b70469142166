"""BatchNorm and temperature folded away."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.training.conftest import randomise
from training.data import Digits
from training.fold import fold, fold_convolution
from training.model import DigitNet


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**31), st.floats(0.1, 10))
def test_the_folded_network_computes_the_same(seed: int, temperature: float) -> None:
    """For random weights, statistics and affine parameters, every layer agrees in float64; the logits are divided."""
    torch.manual_seed(seed)
    network = randomise(DigitNet(33.3, 78.6), seed).eval()
    images = torch.randint(0, 256, (2, 1, 28, 28)).double()
    with torch.no_grad():
        expected = copy.deepcopy(network).double().activations(images)
        folded = fold(network, temperature).activations(images)
    for name, value in folded.items():
        unfolded = expected[name] / temperature if name == "logits" else expected[name]
        torch.testing.assert_close(value, unfolded, rtol=1e-11, atol=1e-11, msg=f"{name} differs")


def test_a_constant_channel_folds_too() -> None:
    """Where a channel's variance is 0, ε alone keeps the weights finite, as it does in BatchNorm itself."""
    convolution, norm = nn.Conv2d(2, 3, 3).double(), nn.BatchNorm2d(3).double().eval()
    assert convolution.bias is not None and norm.running_mean is not None and norm.running_var is not None
    norm.running_var.zero_()
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        weight, bias = fold_convolution(
            convolution.weight, convolution.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps
        )
        assert float((weight / convolution.weight).mean()) == pytest.approx(1e-5**-0.5)
        torch.testing.assert_close(nn.functional.conv2d(x, weight, bias), norm(convolution(x)), rtol=1e-11, atol=1e-11)


def test_nothing_of_training_is_left(network: DigitNet) -> None:
    """The folded network is float64, in eval mode, without BatchNorm and Dropout, and of 953,922 parameters."""
    folded = fold(network)
    assert not any(isinstance(module, nn.BatchNorm2d | nn.Dropout) for module in folded.modules())
    assert {value.dtype for value in folded.state_dict().values()} == {torch.float64}
    assert not any(module.training for module in folded.modules())
    assert sum(value.numel() for value in folded.state_dict().values()) == 953_922


def test_the_original_stays_as_it_was(network: DigitNet, digits: Digits) -> None:
    """Its modules, its dtype, every tensor and its answers are unchanged."""
    images = torch.tensor(digits.images[:3]).float()
    before, answers, modules = copy.deepcopy(network.state_dict()), network(images), list(network.modules())
    with torch.no_grad():
        for value in fold(network, 2.0).state_dict().values():
            value.fill_(9)  # nor does the new network share memory with it
    assert list(network.modules()) == modules
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert torch.equal(network(images), answers)


def test_training_mode_is_refused(network: DigitNet) -> None:
    """There the network computes with mini-batch statistics, which are not folded."""
    with pytest.raises(ValueError, match="only a network in eval mode can be folded"):
        fold(network.train())
