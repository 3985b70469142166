"""The weights and bias of one layer as integers that give its float32 sums as nearly as they can.

The rounding with feedback is that of E. Frantar et al., "GPTQ: Accurate post-training quantization for generative
pre-trained transformers" (arXiv:2210.17323), section 3; the correction of the bias is M. Nagel et al.'s in
"Data-free quantization through weight equalization and bias correction" (arXiv:1906.04721), section 4.2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# AVX2 adds two products of uint8 and int8 in 16 bits, and saturates where VNNI does not. With weights up to 64 the sum
# is at most 2·255·64 = 32,640 < 2¹⁵, so every CPU gives the same integers.
LARGEST_WEIGHT = 64
LARGEST_ACTIVATION = 255
_DAMPING = 0.01  # of the mean variance, as GPTQ's: keeps the covariance invertible where an input is always the same


@dataclass(frozen=True)
class Integers:
    """A layer in 8 bits: `weight` int8 (units, inputs) and `bias` int32 (units,), each in steps of its unit's scale."""

    weight: NDArray[np.int8]
    weight_scale: NDArray[np.float32]
    bias: NDArray[np.int32]
    bias_scale: NDArray[np.float32]


def in_steps(values: NDArray[np.float32], step: np.float32) -> NDArray[np.float32]:
    """What uint8 with zero point 0 makes of values: from 0 to 255 steps."""
    steps: NDArray[np.float32] = np.clip(np.rint(values / step), 0, LARGEST_ACTIVATION)
    return steps


def integers(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    inputs: NDArray[np.float32],
    step: np.float32,
    *,
    feedback: bool,
) -> Integers:
    """The layer of `weight` (units, inputs) and `bias` (units,), for inputs that come in steps of `step`.

    `inputs` (n, inputs) are real ones, not rounded. The bias takes up what rounding them and the weights shifts the
    mean of a unit's sums by. With `feedback` weights are rounded one after the other, and those still to come
    make up for the error so far, as far as their inputs vary alike; without, each goes to the nearest integer.
    """
    largest = np.abs(weight).max(axis=1)
    scale = np.where(largest > 0, largest / LARGEST_WEIGHT, 1).astype(np.float32)  # any will do for a unit all zero
    exact = weight / scale[:, None].astype(np.float64)
    steps = in_steps(inputs, step)
    rounded = _with_feedback(exact, steps) if feedback else np.rint(exact)
    sums = scale * step
    shift = exact @ (inputs.mean(axis=0, dtype=np.float64) / step) - rounded @ steps.mean(axis=0, dtype=np.float64)
    return Integers(rounded.astype(np.int8), scale, np.rint(bias / sums + shift).astype(np.int32), sums)


def _with_feedback(exact: NDArray[np.float64], steps: NDArray[np.float32]) -> NDArray[np.float64]:
    # Of the covariance and not of the second moments, because the bias takes up the mean.
    covariance = np.cov(steps, rowvar=False)
    covariance[np.diag_indices_from(covariance)] += _DAMPING * np.diag(covariance).mean()
    feedback = np.linalg.cholesky(np.linalg.inv(covariance)).T
    rest, rounded = exact.copy(), np.empty_like(exact)
    for place, row in enumerate(feedback):
        rounded[:, place] = np.clip(np.rint(rest[:, place]), -LARGEST_WEIGHT, LARGEST_WEIGHT)
        rest -= np.outer(rest[:, place] - rounded[:, place], row / row[place])
    return rounded
