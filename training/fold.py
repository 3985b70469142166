"""BatchNorm folded into the convolution before it, and the calibration temperature into the last layer.

B. Jacob and others, "Quantization and training of neural networks for efficient integer-arithmetic-only inference"
(arXiv:1712.05877), section 3.2: W' = W·γ/√(σ² + ε), b' = (b − μ)·γ/√(σ² + ε) + β. Computed in float64.
"""

import copy

import torch
from torch import Tensor, nn

from training.model import DigitNet


def fold_convolution(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Weight (out, in, f, f) and bias (out,) of the one convolution that equals convolution and BatchNorm.

    The five others are (out,); the results are of the arguments' dtype, which should be float64.
    """
    factor = gamma / torch.sqrt(variance + epsilon)
    return weight * factor[:, None, None, None], (bias - mean) * factor + beta


@torch.no_grad()
def _folded(convolution: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(norm, nn.BatchNorm2d)  # noqa: S101 — the module's own architecture, not input
    assert convolution.bias is not None and norm.running_mean is not None and norm.running_var is not None  # noqa: S101
    weight, bias = fold_convolution(
        convolution.weight, convolution.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps
    )
    folded = copy.deepcopy(convolution)
    folded.weight.copy_(weight)
    folded.bias.copy_(bias)  # type: ignore[union-attr]  # asserted above for the original
    return folded


@torch.no_grad()
def fold(network: DigitNet, temperature: float = 1.0) -> DigitNet:
    """A new network in float64 without BatchNorm and Dropout, whose logits are those of `network` / `temperature`.

    Raises:
        ValueError: `network` is in training mode, where it does not compute what is folded.
    """
    if network.training:
        raise ValueError("only a network in eval mode can be folded")
    folded = copy.deepcopy(network).double()
    folded.conv1, folded.norm1 = _folded(folded.conv1, folded.norm1), nn.Identity()
    folded.conv2, folded.norm2 = _folded(folded.conv2, folded.norm2), nn.Identity()
    folded.dropout = nn.Identity()
    folded.fc2.weight.div_(temperature)
    folded.fc2.bias.div_(temperature)
    return folded.eval()
