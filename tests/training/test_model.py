"""The network's layers as numbers, and the module that computes them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.service.shapes import SHAPES
from training.data import Digits
from training.fold import fold
from training.model import ARCHITECTURE, DigitNet, as_input, predict


def test_the_layers_have_the_design_s_names_and_shapes() -> None:
    """The architecture is the one that the design's table shows, in its order."""
    assert [(layer.name, layer.shape) for layer in ARCHITECTURE] == list(SHAPES.items())


def test_every_activation_has_its_layer_s_shape(network: DigitNet) -> None:
    """What the module computes for three images has the shapes that the architecture promises."""
    values = network.activations(torch.zeros(3, 1, 28, 28))
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        name: (3, *shape) for name, shape in SHAPES.items()
    }
    torch.testing.assert_close(network(torch.zeros(3, 1, 28, 28)), values["logits"], rtol=0, atol=0)


def test_pooling_first_changes_no_logit(network: DigitNet, digits: Digits) -> None:
    """The forward pass gives real digits the logits of the layers one after the other, bit for bit."""
    images = torch.tensor(digits.images[:50]).float()
    torch.testing.assert_close(network(images), network.activations(images)["logits"], rtol=0, atol=0)


def test_what_trains_has_954_002_parameters(network: DigitNet) -> None:
    """The module's tensors that a gradient changes are as many as the arithmetic of its layers says."""
    counts = {name: parameter.numel() for name, parameter in network.named_parameters()}
    assert sum(counts.values()) == 954_002
    assert 954_002 == (8 * 9 + 8 + 16) + (32 * 8 * 25 + 32 + 64) + (1568 * 600 + 600) + (600 * 10 + 10)


def test_parameters_as_served_are_those_of_the_folded_tensors(network: DigitNet) -> None:
    """Each layer's count is that of the folded module's weight and bias; both BatchNorms' 80 are gone."""
    folded = fold(network)
    modules = {"conv1": folded.conv1, "conv2": folded.conv2, "fc1": folded.fc1, "logits": folded.fc2}
    counted = {name: sum(tensor.numel() for tensor in module.parameters()) for name, module in modules.items()}
    assert {layer.name: layer.parameters for layer in ARCHITECTURE if layer.parameters} == counted
    assert sum(layer.parameters for layer in ARCHITECTURE) == 954_002 - 80 == 953_922


def test_multiply_adds_are_what_pytorch_counts(network: DigitNet) -> None:
    """PyTorch's counter, which sees the operators as they run and counts two operations a multiply-add, agrees."""
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 28, 28))
    counted = {
        name: sum(operations.values()) // 2
        for module, operations in counter.get_flop_counts().items()
        if (name := module.rpartition(".")[2].replace("fc2", "logits")) in SHAPES
    }
    assert {layer.name: layer.multiply_adds for layer in ARCHITECTURE if layer.multiply_adds} == counted


def test_normalisation_belongs_to_the_network(network: DigitNet, digits: Digits) -> None:
    """Grey levels through a network with mean and deviation equal pixels normalised by NumPy through one without."""
    network.double()
    plain = DigitNet(0, 1).double().eval()
    plain.load_state_dict(network.state_dict())
    images = digits.images[:5].astype(np.float64)
    normalised = torch.from_numpy((images - 33.3) / 78.6)
    torch.testing.assert_close(network(torch.from_numpy(images)), plain(normalised), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_predict_is_the_forward_pass_in_batches(network: DigitNet, digits: Digits, batch: int) -> None:
    """Whatever the batch, the logits are those of all images in one pass, and carry no gradient."""
    images = torch.tensor(digits.images[:9])
    logits = predict(network, images, batch)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, network(images.float()).detach(), rtol=1e-5, atol=1e-5)


def test_predict_refuses_training_mode(network: DigitNet) -> None:
    """There Dropout would make the answer random."""
    with pytest.raises(ValueError, match="training mode"):
        predict(network.train(), torch.zeros(1, 1, 28, 28, dtype=torch.uint8))


def test_as_input_keeps_grey_levels(digits: Digits) -> None:
    """Only the dtype changes, to that of the network's parameters."""
    images = torch.tensor(digits.images[:2])
    for dtype in (torch.float32, torch.float64):
        given = as_input(images, nn.Linear(1, 1, dtype=dtype))
        assert given.dtype == dtype
        np.testing.assert_array_equal(given.numpy(), digits.images[:2])
