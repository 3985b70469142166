"""Colour maps: their lightness, as CIE defined it in 1976, says the value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.painting.colour import DIVERGING, SEQUENTIAL, paint

Palette = NDArray[np.uint8]


_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def cielab(colours: Palette) -> NDArray[np.float64]:
    """CIE 1976 L*, a*, b* of sRGB bytes (…, 3), by IEC 61966-2-1 and CIE 15, white D65."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    share = linear @ _XYZ.T / _XYZ.sum(axis=1)
    x, y, z = np.moveaxis(np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def lightness(colours: Palette) -> NDArray[np.float64]:
    """CIE L*, 0–100."""
    return cielab(colours)[..., 0]


def test_the_oracle_knows_black_grey_and_white() -> None:
    """The lightness that these tests measure by is right at known colours."""
    known = lightness(np.array([[0, 0, 0], [119, 119, 119], [255, 255, 255]], np.uint8))
    np.testing.assert_allclose(known, [0, 50.03, 100], atol=0.02)


def test_sequential_colours_grow_lighter_in_even_steps() -> None:
    """From dark to light without a way back, and no step is more than three times the mean step."""
    steps = np.diff(lightness(SEQUENTIAL))
    assert len(SEQUENTIAL) == 256
    assert lightness(SEQUENTIAL)[0] < 12 and lightness(SEQUENTIAL)[-1] > 90
    assert (lightness(SEQUENTIAL)[8:] > lightness(SEQUENTIAL)[:-8]).all()
    assert steps.min() > -0.3 and steps.max() < 3 * steps.mean()


def test_diverging_colours_are_symmetric_about_near_white() -> None:
    """Zero is the lightest and hardly coloured, and equal magnitudes of either sign are about equally dark."""
    value = lightness(DIVERGING)
    middle = len(DIVERGING) // 2
    assert len(DIVERGING) % 2 == 1 and value.argmax() == middle
    assert value[middle] > 95 and np.ptp(DIVERGING[middle].astype(int)) <= 3
    assert (value[8 : middle + 1] > value[: middle - 7]).all() and (value[middle:-8] > value[middle + 8 :]).all()
    assert np.abs(value - value[::-1]).max() < 6


def test_signs_have_hues_of_their_own() -> None:
    """Negative values are blue and positive ones are orange, also for those who see no green."""
    negative, positive = DIVERGING[0].astype(int), DIVERGING[-1].astype(int)
    assert negative[2] - negative[0] > 80 and positive[0] - positive[2] > 80


def test_no_palette_is_a_rainbow() -> None:
    """No step is as large as the just noticeable difference (2.3 in CIELAB), so no edge shows where there is none."""
    for palette in (SEQUENTIAL, DIVERGING):
        assert np.linalg.norm(np.diff(cielab(palette), axis=0), axis=1).max() < 2.3


finite = st.floats(-1e3, 1e3, width=32)


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, (3, 4), elements=finite), st.booleans())
def test_colours_are_read_off_linearly(values: NDArray[np.float32], signed: bool) -> None:
    """Each value's colour is the palette's nearest to its share of the range, and the range is symmetric for signs."""
    values = values if signed else np.abs(values)
    palette, low = (DIVERGING, -np.abs(values).max()) if signed else (SEQUENTIAL, np.float32(0))
    high = np.abs(values).max()
    painted = paint(values, float(values.min()), float(values.max()), signed=signed)
    assert painted.shape == (3, 4, 3)
    for place in np.ndindex(values.shape):
        share = (float(values[place]) - float(low)) / float(high - low) if high > low else (0.5 if signed else 0.0)
        index = share * (len(palette) - 1)
        near = {int(np.floor(index - 0.01 + 0.5)), int(np.floor(index + 0.01 + 0.5))}
        assert any((painted[place] == palette[min(number, len(palette) - 1)]).all() for number in near)


@pytest.mark.parametrize(("signed", "palette", "index"), [(True, DIVERGING, 127), (False, SEQUENTIAL, 0)])
def test_nothing_but_zeros_is_painted_as_zero(signed: bool, palette: Palette, index: int) -> None:
    """A map of zeros has no range, and its colour is that of zero."""
    painted = paint(np.zeros((2, 2), np.float32), 0.0, 0.0, signed=signed)
    assert (painted == palette[index]).all()


def test_values_beyond_the_range_take_its_ends() -> None:
    """A range narrower than the values clips them."""
    values = np.array([[-9, 9]], np.float32)
    assert (paint(values, -1.0, 1.0, signed=True)[0] == DIVERGING[[0, -1]]).all()
    assert (paint(values, 0.0, 1.0, signed=False)[0] == SEQUENTIAL[[0, -1]]).all()
