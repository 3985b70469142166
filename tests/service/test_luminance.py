"""Luminance of every kind of picture, by the weights of the standard."""

import numpy as np
import pytest
from PIL import Image

from service.luminance import luminance

NOISE = np.random.default_rng(5).integers(0, 256, (9, 12, 4), np.uint8)


def test_grey_is_a_share_of_white() -> None:
    """Each level divided by 255, in the picture's own size."""
    values = luminance(Image.fromarray(NOISE[..., 0]))
    assert values.dtype == np.float32 and values.shape == (9, 12)
    np.testing.assert_allclose(values, NOISE[..., 0] / 255, atol=1e-7)


def test_colours_are_weighted() -> None:
    """0.299 R + 0.587 G + 0.114 B, to a step of 1/255."""
    expected = NOISE[..., :3] @ [0.299, 0.587, 0.114] / 255
    np.testing.assert_allclose(luminance(Image.fromarray(NOISE[..., :3])), expected, atol=1 / 255)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_lies_over_white(channels: int) -> None:
    """Grey and colour with alpha, composed by the textbook's formula to two steps of 1/255."""
    colours, opacity = NOISE[..., : channels - 1] / 255, NOISE[..., channels - 1 : channels] / 255
    composed = colours * opacity + 1 - opacity
    expected = composed @ [0.299, 0.587, 0.114] if channels == 4 else composed[..., 0]
    np.testing.assert_allclose(luminance(Image.fromarray(NOISE[..., :channels])), expected, atol=2 / 255)


def test_a_palette_s_transparent_colour_is_white() -> None:
    """What a GIF does not cover lies over white as well."""
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    picture.putpalette([10, 10, 10, 200, 200, 200])
    picture.info["transparency"] = 0
    np.testing.assert_allclose(luminance(picture), [[1, 200 / 255]], atol=1e-6)


def test_sixteen_bits_are_all_kept() -> None:
    """65,535 is white, and neighbouring levels differ."""
    levels = np.array([[0, 1, 32768, 65535]], np.uint16)
    np.testing.assert_allclose(luminance(Image.fromarray(levels)), levels / 65535, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_a_white_are_stretched(kind: type[np.generic]) -> None:
    """From their least to their largest; all the same, or none, they are 0."""
    numbers = np.array([[-100, 0, 300]]).astype(kind)
    np.testing.assert_allclose(luminance(Image.fromarray(numbers)), [[0, 0.25, 1]], atol=1e-6)
    np.testing.assert_array_equal(luminance(Image.fromarray(np.full((2, 3), 7).astype(kind))), np.zeros((2, 3)))


def test_what_is_no_number_does_no_harm() -> None:
    """NaN and infinities of a file of real numbers give finite values from 0 to 1."""
    values = luminance(Image.fromarray(np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)))
    assert np.isfinite(values).all() and values.min() == 0 and values.max() == 1


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr", "HSV", "LAB", "PA", "RGBa", "I;16B"])
def test_every_mode_has_a_luminance(mode: str) -> None:
    """White is 1 and black 0, whatever the picture is stored as."""
    for level in (0, 255):
        picture = Image.new("RGBA", (8, 8), (level, level, level, 255))
        if mode == "LAB":
            converted = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (level, 128, 128)])
        elif mode == "I;16B":
            converted = Image.frombytes(mode, (8, 8), np.full((8, 8), level * 257, ">u2").tobytes())
        elif mode == "PA":
            converted = picture.convert("RGB").convert("P").convert("PA")
        else:
            converted = picture.convert("RGBA" if mode == "RGBa" else "RGB").convert(mode)
        np.testing.assert_allclose(luminance(converted), np.full((8, 8), level / 255), atol=0.005, err_msg=mode)
