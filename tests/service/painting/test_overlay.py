"""The picture of maps over a digit: where which colour is, and how large it is."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.painting.colour import DIVERGING
from service.painting.overlay import draw_overlay

ENDS = ("-1", "0", "1")


def draw(digit: NDArray[np.uint8], *maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture, (height, width, 3)."""
    named = {f"map {number}": values for number, values in enumerate(maps)}
    picture = Image.open(io.BytesIO(draw_overlay(digit, named, "title", ["line"], ENDS)))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return np.asarray(picture)


def middle(picture: NDArray[np.uint8], y: int, x: int) -> list[int]:
    """The colour in the middle of a pixel of the only map: 14 across, from 16 and from 16 + 24 + 16 + 8 on."""
    colour: list[int] = picture[64 + 14 * y + 7, 16 + 14 * x + 7].tolist()
    return colour


def test_each_value_has_its_colour_in_its_place() -> None:
    """The largest magnitude has the palette's end, zero its middle, half of it what stands between."""
    values = np.zeros((28, 28), np.float32)
    values[0, 0], values[27, 27], values[3, 20] = 2, -2, 1
    picture = draw(np.zeros((28, 28), np.uint8), values)
    assert middle(picture, 0, 0) == DIVERGING[254].tolist()
    assert middle(picture, 27, 27) == DIVERGING[0].tolist()
    assert middle(picture, 3, 20) in DIVERGING[189:193].tolist()
    assert middle(picture, 10, 10) == DIVERGING[127].tolist()


def test_the_digit_shows_beneath() -> None:
    """Ink darkens the colour over it by 22 %, and what has none stays."""
    digit = np.zeros((28, 28), np.uint8)
    digit[5, 6] = 255
    picture = draw(digit, np.ones((28, 28), np.float32))
    np.testing.assert_allclose(middle(picture, 5, 6), 0.78 * np.array(middle(picture, 5, 7)), atol=0.51)


def test_several_maps_share_a_scale() -> None:
    """Ten of them fill two rows of five, and the strongest value of all decides on the colours of each."""
    maps = [np.full((28, 28), number + 1, np.float32) for number in range(10)]
    picture = draw(np.zeros((28, 28), np.uint8), *maps)
    side, step = 168, 178
    tiles = [
        picture[64 + 196 * row + side // 2, 16 + step * column + side // 2] for row in (0, 1) for column in range(5)
    ]
    assert tiles[9].tolist() == DIVERGING[254].tolist()
    assert len({tuple(tile) for tile in tiles}) == 10
    assert picture.shape == (64 + 2 * 196 + 44, 2 * 16 + 5 * step - 10, 3)


def test_a_map_of_nothing_is_drawn() -> None:
    """Without any magnitude everything has the colour of zero."""
    picture = draw(np.zeros((28, 28), np.uint8), np.zeros((28, 28), np.float32))
    assert middle(picture, 4, 4) == DIVERGING[127].tolist()
