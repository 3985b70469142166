"""The picture of maps over a digit: where which colour is, and how large it is."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.inside.attribution import Attribution
from service.inside.explanation import Explanation
from service.inside.faithfulness import Course, Faithfulness
from service.painting.attribution_sheet import draw_attribution
from service.painting.colour import DIVERGING
from service.painting.drawing import Drawing
from service.painting.png import as_png

BLANK = np.zeros((28, 28), np.uint8)


def drawing(digit: NDArray[np.uint8], *maps: NDArray[np.float32], measured: Faithfulness | None = None) -> Drawing:
    """The sheet of maps for the digits from 0 on."""
    found = [Attribution(number, values) for number, values in enumerate(maps)]
    figures = {0: measured} if measured else {}
    return draw_attribution(digit, Explanation("occlusion", 0, np.float32(0.75), found, figures))


def draw(digit: NDArray[np.uint8], *maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture, (height, width, 3)."""
    picture = Image.open(io.BytesIO(as_png(drawing(digit, *maps))))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return np.asarray(picture)


def squares(picture: NDArray[np.uint8], left: int) -> NDArray[np.uint8]:
    """The colours (28, 28, 3) of a picture of the only map, or of the digit, in squares of 12 below the heading."""
    cells = picture[60 : 60 + 336, left : left + 336].reshape(28, 12, 28, 12, 3)
    assert (cells == cells[:, :1, :, :1]).all(), "a value is not one square of one colour"
    return cells[:, 0, :, 0]


def test_each_value_has_its_colour_in_its_place() -> None:
    """The largest magnitude has the palette's end, zero its middle, half of it what stands between."""
    values = np.zeros((28, 28), np.float32)
    values[0, 0], values[27, 27], values[3, 20] = 2, -2, 1
    picture = draw(BLANK, values)
    assert picture.shape == (60 + 336 + 16, 760, 3)
    colours = squares(picture, 16)
    assert colours[0, 0].tolist() == DIVERGING[254].tolist()
    assert colours[27, 27].tolist() == DIVERGING[0].tolist()
    assert colours[3, 20].tolist() in DIVERGING[189:193].tolist()
    assert colours[10, 10].tolist() == DIVERGING[127].tolist()


def test_the_digit_shows_beneath_and_beside() -> None:
    """Ink darkens the colour over it by 22 %, what has none stays; the digit itself stands to the right in grey."""
    digit = BLANK.copy()
    digit[5, 6], digit[20, 3] = 255, 100
    picture = draw(digit, np.ones((28, 28), np.float32))
    colours = squares(picture, 16).astype(float)
    np.testing.assert_allclose(colours[5, 6], 0.78 * colours[5, 7], atol=0.51)
    np.testing.assert_allclose(colours[20, 3], (1 - 0.22 * 100 / 255) * colours[5, 7], atol=0.51)
    np.testing.assert_array_equal(squares(picture, 16 + 336 + 8), digit[..., None].repeat(3, axis=2))


def test_several_maps_share_a_scale() -> None:
    """Ten of them fill two rows of five, and the strongest value of all decides on the colours of each."""
    maps = [np.full((28, 28), number + 1, np.float32) for number in range(10)]
    picture = draw(BLANK, *maps)
    tiles = [picture[60 + 164 * row + 70, 16 + 147 * column + 70] for row in (0, 1) for column in range(5)]
    assert tiles[9].tolist() == DIVERGING[254].tolist()
    assert len({tuple(tile) for tile in tiles}) == 10
    assert picture.shape == (60 + 2 * 164 + 16, 760, 3)
    words = [text.words for text in drawing(BLANK, *maps).texts]
    assert [word for word in words if word.startswith("±")] == [f"±{number}" for number in range(1, 11)]


def test_words_say_what_is_shown() -> None:
    """What is read, in which unit, over which range, and how true the map is."""
    course = Course(np.zeros(29, np.float32), np.zeros(29, np.float32), 0.25, 0.5, 1, 2)
    sheet = drawing(BLANK, np.full((28, 28), -2.5, np.float32), measured=Faithfulness(course, course))
    words = [text.words for text in sheet.texts]
    assert sheet.title == "occlusion for 0" in words
    assert "the network reads 0 with 75.0% · in logits" in words
    assert "−2.5 against" in words and "for 2.5" in words
    assert "deletion 0.25 (random order 0.50, less is better)" in words
    assert "insertion 0.25 (random order 0.50, more is better)" in words
    assert [picture.title for picture in sheet.pictures][1:] == [
        "for 0: −2.5 to −2.5",
        "the digit as the network sees it",
    ]


def test_a_map_of_nothing_is_drawn() -> None:
    """Without any magnitude everything has the colour of zero."""
    picture = draw(BLANK, np.zeros((28, 28), np.float32))
    assert (squares(picture, 16) == DIVERGING[127]).all()
