"""Other hands' and other pens' digits from the same ones: affine, elastic and stroke-width distortions of a batch.

The elastic field follows P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural networks
applied to visual document analysis" (ICDAR 2003): random displacements, smoothed. Here they are drawn on a coarse
lattice and interpolated, which smooths them at a fraction of a convolution's cost.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Distortion:
    """The largest distortions; each is drawn uniformly up to its size, the elastic ones normally.

    Digits of people who write like nobody in the training set are rare, but they are what a service meets: `wild` is
    the share of images whose distortions are all nearly twice as large.
    """

    rotation: float = 15.0  # degrees
    scale: float = 0.15  # of the digit's size, along each axis by itself
    shear: float = 0.15  # of the digit's height
    shift: float = 1.0  # pixels
    elastic: float = 0.5  # pixels, standard deviation of a lattice point's displacement
    lattice: int = 5  # points along each side
    stroke: float = 0.0  # of a pixel on either side of a stroke, grown or shrunk in half of the images
    wild: float = 0.0  # share of the images


_WILDER = 1.8  # times the sizes


def distort(images: Tensor, distortion: Distortion, generator: torch.Generator) -> Tensor:
    """A distorted copy of images float (n, 1, h, w) in grey levels 0–255, zero (black) beyond the border.

    `generator` lives on the CPU, so that a seed means the same on every device.
    """
    n, _, height, width = images.shape
    pixel = 2 / height  # affine_grid's coordinates run from −1 to 1
    strength = torch.ones(n)
    if distortion.wild:
        strength[torch.rand(n, generator=generator) < distortion.wild] = _WILDER

    def uniform(size: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * (size * strength)

    angle = uniform(math.radians(distortion.rotation))
    stretch_x, stretch_y = 1 + uniform(distortion.scale), 1 + uniform(distortion.scale)
    shear = uniform(distortion.shear)
    shift_x, shift_y = uniform(distortion.shift * pixel), uniform(distortion.shift * pixel)
    cos, sin = angle.cos(), angle.sin()
    affine = torch.stack(
        (
            torch.stack((stretch_x * cos, shear * cos - stretch_y * sin, shift_x), dim=1),
            torch.stack((stretch_x * sin, shear * sin + stretch_y * cos, shift_y), dim=1),
        ),
        dim=1,
    )
    grid = functional.affine_grid(affine.to(images), list(images.shape), align_corners=False)
    lattice = torch.randn(n, 2, distortion.lattice, distortion.lattice, generator=generator)
    field = functional.interpolate(lattice.to(images), (height, width), mode="bicubic", align_corners=False)
    field *= (distortion.elastic * pixel * strength).to(images)[:, None, None, None]
    grid = grid + field.permute(0, 2, 3, 1)
    if distortion.stroke:
        images = _redrawn(images, distortion.stroke, generator)
    # Bilinear sampling would blur every stroke of training, and none of what is served.
    sampled = functional.grid_sample(images, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return sampled.clamp(0, 255)


def _redrawn(images: Tensor, stroke: float, generator: torch.Generator) -> Tensor:
    """Half of the images with thicker or thinner strokes, by part of what a pen of a pixel more or less would do."""
    n = len(images)
    change = ((torch.rand(n, 2, generator=generator) * 2 - 1) * torch.tensor([stroke, 1])).to(images)
    change = (change[:, 0] * (change[:, 1] > 0))[:, None, None, None]
    thicker = functional.max_pool2d(images, 3, 1, 1)
    thinner = -functional.max_pool2d(-images, 3, 1, 1)
    return images + change.clamp(min=0) * (thicker - images) - change.clamp(max=0) * (thinner - images)
