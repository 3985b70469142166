"""The calibration temperature: one number that makes the network as sure as it is right.

C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On calibration of modern neural networks" (arXiv:1706.04599), section 4.2.
"""

import torch
from torch import Tensor
from torch.nn import functional


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T > 0 for which softmax(logits / T) has the least cross-entropy.

    `logits` are float (n, 10) and `labels` int64 (n,), both of digits that were not trained on. Cross-entropy is convex
    in 1/T, so the search for its slope's zero cannot end in a wrong place.
    """
    logits = logits.double()
    low, high = torch.tensor(0.05).double(), torch.tensor(20.0).double()  # bounds of 1/T
    for _ in range(60):
        middle = (low * high).sqrt().requires_grad_()
        (slope,) = torch.autograd.grad(functional.cross_entropy(logits * middle, labels), middle)
        low, high = (low, middle.detach()) if slope > 0 else (middle.detach(), high)
    return float(1 / low)
