"""Distortions, measured by what they do to images that hold their own coordinates."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from training.augment import Distortion, distort
from training.data import Digits

NONE = Distortion(rotation=0, scale=0, shear=0, shift=0, elastic=0)
INNER = slice(9, 19)  # pixels that no distortion here takes from beyond the border
COUNT = 400
WAVE = 0.05  # pixels by which PyTorch's cubic kernel, of a = −0.75, bends a straight line at most


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of that seed."""
    return torch.Generator().manual_seed(seed)


def sources(**sizes: float) -> NDArray[np.float64]:
    """Where each pixel of 400 distorted images comes from, (2 for x and y, 400, 10, 10), from the image's centre.

    A ramp that rises by one a pixel holds its own coordinate, between the pixels too: bicubic interpolation leaves it
    straight but for `WAVE`.
    """
    ramp = torch.arange(100, 128, dtype=torch.float64).expand(COUNT, 1, 28, 28)
    distortion = dataclasses.replace(NONE, **sizes)  # type: ignore[arg-type]  # mypy cannot see the names
    found = [distort(image, distortion, seeded()) for image in (ramp, ramp.transpose(2, 3))]
    return np.stack([image[:, 0, INNER, INNER].numpy() for image in found]) - 113.5


X, Y = (axis[INNER, INNER] - 13.5 for axis in np.meshgrid(np.arange(28), np.arange(28)))


def test_no_distortion_is_the_identity(digits: Digits) -> None:
    """With every size zero a real digit comes back, up to float32's rounding of its coordinates."""
    images = torch.tensor(digits.images[:20]).float()
    torch.testing.assert_close(distort(images, NONE, seeded()), images, rtol=0, atol=0.01)


def test_the_seed_decides(digits: Digits) -> None:
    """The same seed distorts alike bit for bit, another one otherwise, and each image of a batch by itself."""
    images = torch.tensor(digits.images[:1]).float().expand(4, 1, 28, 28)
    first = distort(images, Distortion(), seeded(1))
    assert torch.equal(distort(images, Distortion(), seeded(1)), first)
    assert not torch.equal(distort(images, Distortion(), seeded(2)), first)
    assert not any(torch.equal(first[0], first[n]) for n in range(1, 4))


@settings(deadline=None, max_examples=20)
@given(
    st.builds(
        Distortion,
        *(st.floats(0, size) for size in (180, 0.9, 1, 30, 10)),
        st.integers(2, 28),
    ),
    st.integers(1, 4),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_shape_dtype_and_range_stay(distortion: Distortion, count: int, dtype: torch.dtype) -> None:
    """However strong the distortion, the result is as many images of that dtype, in grey levels from 0 to 255."""
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=seeded()).to(dtype)
    result = distort(images, distortion, seeded(1))
    assert result.shape == images.shape
    assert result.dtype == dtype
    assert 0 <= result.min() <= result.max() <= 255


def test_rotation_turns_about_the_centre_by_at_most_its_angle() -> None:
    """Each image's pixels keep their distance and turn by one angle, of which the largest nearly reaches the limit."""
    x, y = sources(rotation=12)
    np.testing.assert_allclose(np.hypot(x, y), np.broadcast_to(np.hypot(X, Y), x.shape), atol=2 * WAVE)
    turns = np.degrees(np.angle(((x + 1j * y) * (X - 1j * Y)).sum((1, 2))))  # weighted by the squared distance
    turned = (X + 1j * Y) * np.exp(1j * np.radians(turns))[:, None, None]
    np.testing.assert_allclose(x + 1j * y, turned, atol=2 * WAVE)
    assert np.abs(turns).max() <= 12.1
    assert turns.min() < -11
    assert turns.max() > 11


def test_scale_stretches_each_axis_by_at_most_its_share() -> None:
    """Coordinates are multiplied by one factor an axis, the two drawn apart, of which the largest nears the limit."""
    x, y = sources(scale=0.12)
    factors = np.stack([(x * X).sum((1, 2)) / (X * X).sum(), (y * Y).sum((1, 2)) / (Y * Y).sum()])
    np.testing.assert_allclose(x, factors[0, :, None, None] * X, atol=2 * WAVE)
    np.testing.assert_allclose(y, factors[1, :, None, None] * Y, atol=2 * WAVE)
    assert 0.11 < np.abs(factors - 1).max() <= 0.13
    assert abs(np.corrcoef(factors)[0, 1]) < 0.2


def test_shear_slants_by_at_most_its_share() -> None:
    """Rows move sideways by a share of their height over the centre, and no pixel moves up or down."""
    x, y = sources(shear=0.2)
    np.testing.assert_allclose(y, np.broadcast_to(Y, y.shape), atol=1e-5)
    shares = ((x - X) * Y).sum((1, 2)) / (Y * Y).sum()
    np.testing.assert_allclose(x, X + shares[:, None, None] * Y, atol=2 * WAVE)
    assert 0.18 < np.abs(shares).max() <= 0.21


def test_a_turned_digit_is_stretched_along_its_own_axes() -> None:
    """Rotation and scale together are a rotation after a stretch: taken apart, the map has no shear."""
    found = sources(rotation=45, scale=0.4).reshape(2, COUNT, -1)
    plane = np.stack([X.ravel(), Y.ravel()])
    matrices = np.einsum("anp,bp->nab", found, np.linalg.pinv(plane).T)
    _, stretches = np.linalg.qr(matrices)
    assert np.abs(stretches[:, 0, 1]).max() < WAVE
    factors = np.abs(stretches[:, [0, 1], [0, 1]])
    assert 0.6 - WAVE < factors.min() < 0.65
    assert 1.35 < factors.max() < 1.4 + WAVE


def test_shift_moves_every_pixel_alike_by_at_most_its_size(digits: Digits) -> None:
    """The displacement is one for all pixels, and a real digit's centre of mass moves by no more than that."""
    moved = sources(shift=1.5) - np.stack([X, Y])[:, None]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :, :1, :1], moved.shape), atol=1e-5)
    assert 1.4 < np.abs(moved).max() <= 1.5 + WAVE

    images = torch.tensor(digits.images[:100]).double()
    after = distort(images, dataclasses.replace(NONE, shift=1.5), seeded())
    for axis in (2, 3):
        places = torch.arange(28.0)
        before_centre, after_centre = (
            (image.sum(5 - axis)[:, 0] * places).sum(1) / image.sum((1, 2, 3)) for image in (images, after)
        )
        difference = (after_centre - before_centre).abs()
        assert 1.2 < difference.max() <= 1.5 + 0.02  # MNIST's border is wide enough to hold the moved ink


@pytest.mark.parametrize("elastic", [0.5, 0.9])
def test_elastic_displacements_have_their_standard_deviation(elastic: float) -> None:
    """With a lattice as fine as the image, each pixel moves by a draw of mean 0 and that deviation along each axis."""
    moved = sources(elastic=elastic, lattice=28) - np.stack([X, Y])[:, None]
    expected_error = elastic / math.sqrt(2 * moved[0].size)
    assert moved.std(axis=(1, 2, 3)) == pytest.approx([elastic] * 2, abs=6 * expected_error)
    assert moved.mean(axis=(1, 2, 3)) == pytest.approx([0, 0], abs=9 * expected_error)


def test_strokes_stay_sharp(digits: Digits) -> None:
    """Moved by parts of a pixel, real digits keep 96 % of their squared grey levels; bilinear sampling keeps 88 %."""
    images = torch.tensor(digits.images[:300]).double()
    moved = distort(images, dataclasses.replace(NONE, shift=1.5), seeded())
    assert (moved.square().sum((1, 2, 3)) / images.square().sum((1, 2, 3))).mean() == pytest.approx(0.96, abs=0.02)


def test_elastic_displacements_are_smooth() -> None:
    """With the lattice that trains, neighbouring pixels move by nearly the same: far less apart than strangers."""
    moved = sources(elastic=0.9) - np.stack([X, Y])[:, None]
    assert np.abs(np.diff(moved, axis=3)).mean() < 0.3 * np.abs(moved - np.roll(moved, 1, axis=1)).mean()


def test_strokes_grow_and_shrink_by_at_most_their_share(digits: Digits) -> None:
    """Half of the images keep their pixels; the others lie between SciPy's erosion and dilation, at most in part."""
    images = torch.tensor(digits.images[:300]).double()
    after = distort(images, dataclasses.replace(NONE, stroke=0.7), seeded()).numpy()[:, 0]
    before = images.numpy()[:, 0]
    thick = np.stack([ndimage.grey_dilation(image, (3, 3)) for image in before])
    thin = np.stack([ndimage.grey_erosion(image, (3, 3)) for image in before])
    room = 0.01 + 1e-9  # of the resampling's coordinates
    assert (after <= before + 0.7 * (thick - before) + room).all()
    assert (after >= before - 0.7 * (before - thin) - room).all()
    ink = after.sum(axis=(1, 2)) / before.sum(axis=(1, 2))
    assert (np.abs(ink - 1) < 1e-4).mean() == pytest.approx(0.5, abs=0.1)
    assert (ink > 1.001).mean() == pytest.approx(0.25, abs=0.08)
    assert ink.max() > 1.2 and ink.min() < 0.8


def test_wild_images_are_distorted_nearly_twice_as_much() -> None:
    """The share of them moves further than the size allows the others, and none further than 1.8 times that."""
    moved = np.abs(sources(shift=1, wild=0.3) - np.stack([X, Y])[:, None])[..., 0, 0].max(axis=0)
    assert moved.max() <= 1.8 + WAVE
    # Of two draws up to 1.8 one or both are beyond 1 with that chance.
    assert (moved > 1 + WAVE).mean() == pytest.approx(0.3 * (1 - (1.05 / 1.8) ** 2), abs=0.07)
