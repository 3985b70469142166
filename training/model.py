"""The network: its layers as numbers, and the PyTorch module that trains.

BatchNorm is S. Ioffe and C. Szegedy's (arXiv:1502.03167), Dropout N. Srivastava's and others' (JMLR 15, 2014).
"""

import math

import torch
from torch import Tensor, nn

from service.layer import Layer, convolution_size, padding_size, pooling_size

SIZE = 28  # pixels along each side of an image
CLASSES = 10
HIDDEN = 600  # units of fc1
_CONVOLUTIONS = ((8, 3), (32, 5))  # channels and kernel of each
_POOL = 2


def _architecture() -> tuple[Layer, ...]:
    layers: list[Layer] = []
    inputs, size = 1, SIZE
    for number, (channels, kernel) in enumerate(_CONVOLUTIONS, start=1):
        padding = padding_size("half", kernel)
        size = convolution_size(size, kernel, 1, padding)
        weights = channels * inputs * kernel**2
        layers.append(
            Layer(
                name=f"conv{number}",
                operator="Conv",
                shape=(channels, size, size),
                kernel=kernel,
                stride=1,
                padding=padding,
                parameters=weights + channels,
                multiply_adds=weights * size**2,
            )
        )
        layers.append(Layer(name=f"relu{number}", operator="Relu", shape=(channels, size, size)))
        size = pooling_size(size, _POOL, _POOL)
        shape = (channels, size, size)
        layers.append(
            Layer(name=f"pool{number}", operator="MaxPool", shape=shape, kernel=_POOL, stride=_POOL, padding=0)
        )
        inputs = channels
    flat = math.prod(layers[-1].shape)
    layers.append(_linear("fc1", flat, HIDDEN))
    layers.append(Layer(name="fc1_relu", operator="Relu", shape=(HIDDEN,)))
    layers.append(_linear("logits", HIDDEN, CLASSES))
    return tuple(layers)


def _linear(name: str, inputs: int, outputs: int) -> Layer:
    weights = inputs * outputs
    return Layer(name=name, operator="Gemm", shape=(outputs,), parameters=weights + outputs, multiply_adds=weights)


ARCHITECTURE = _architecture()
"""The layers as served, BatchNorm folded: conv1, relu1, pool1, conv2, relu2, pool2, fc1, fc1_relu, logits."""


class DigitNet(nn.Module):
    """The reference network. Normalisation is part of it, so that no caller can normalise differently.

    `mean` and `std` are those of the training pixels, in grey levels 0–255.
    """

    def __init__(self, mean: float, std: float, dropout: float = 0.5) -> None:
        super().__init__()
        (first, first_kernel), (second, second_kernel) = _CONVOLUTIONS
        self.mean = mean
        self.std = std
        self.conv1 = nn.Conv2d(1, first, first_kernel, padding=padding_size("half", first_kernel))
        self.norm1: nn.Module = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, second_kernel, padding=padding_size("half", second_kernel))
        self.norm2: nn.Module = nn.BatchNorm2d(second)
        self.pool = nn.MaxPool2d(_POOL)
        self.fc1 = nn.Linear(second * (SIZE // _POOL**2) ** 2, HIDDEN)
        self.dropout: nn.Module = nn.Dropout(dropout)
        self.fc2 = nn.Linear(HIDDEN, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 10) of images (n, 1, 28, 28) in grey levels 0–255, of the parameters' dtype.

        Pooling goes first, so that ReLU has a quarter of the work: a maximum is the same before and after it.
        """
        normalised = (images - self.mean) / self.std
        pool1 = self.pool(self.norm1(self.conv1(normalised))).relu()
        pool2 = self.pool(self.norm2(self.conv2(pool1))).relu()
        logits: Tensor = self.fc2(self.dropout(self.fc1(pool2.flatten(1)).relu()))
        return logits

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """Every layer of `ARCHITECTURE` by name, each (n, *its shape), of images as `forward` takes them."""
        normalised = (images - self.mean) / self.std
        conv1 = self.norm1(self.conv1(normalised))
        relu1 = conv1.relu()
        pool1 = self.pool(relu1)
        conv2 = self.norm2(self.conv2(pool1))
        relu2 = conv2.relu()
        pool2 = self.pool(relu2)
        fc1 = self.fc1(pool2.flatten(1))
        fc1_relu = fc1.relu()
        logits = self.fc2(self.dropout(fc1_relu))
        values = (conv1, relu1, pool1, conv2, relu2, pool2, fc1, fc1_relu, logits)
        return {layer.name: value for layer, value in zip(ARCHITECTURE, values, strict=True)}


def as_input(images: Tensor, network: nn.Module) -> Tensor:
    """Images uint8 as the network takes them: on its device and of its dtype, still in grey levels 0–255."""
    parameter = next(network.parameters())
    return images.to(device=parameter.device, dtype=parameter.dtype)


def lay_out(network: nn.Module, layout: torch.memory_format) -> None:
    """Has the kernels of a network lie in memory in that format."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, batch: int = 1000) -> Tensor:
    """Logits (n, 10) of images uint8 (n, 1, 28, 28), by a network in eval mode, on the CPU in its dtype.

    Raises:
        ValueError: the network is in training mode, where Dropout and BatchNorm would make the answer random.
    """
    if network.training:
        raise ValueError("the network is in training mode; call eval() first")
    return torch.cat([network(as_input(part, network)).cpu() for part in torch.split(images, batch)])
