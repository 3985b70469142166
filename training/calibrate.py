"""What turns logits into honest answers: the temperature, and the thresholds below which an answer is rejected.

C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On calibration of modern neural networks" (arXiv:1706.04599), section 4.2.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from service.manifest import Rejection

NOT_A_DIGIT, AMBIGUOUS = 0.0025, 0.0015
"""The shares of real digits that may be rejected for either reason: together less than 0.5 %."""


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


def fit_rejection(evidence: NDArray[np.float64], confidences: NDArray[np.float64]) -> Rejection:
    """The thresholds that reject just those shares of real digits, float64 (n,) each, that were not trained on."""
    threshold = float(np.quantile(evidence, NOT_A_DIGIT))
    certain = confidences[evidence >= threshold]
    return Rejection(evidence=threshold, confidence=float(np.quantile(certain, AMBIGUOUS)))
