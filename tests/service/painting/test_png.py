"""A drawing as a PNG: what is where, as Pillow reads it back."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.painting.drawing import Anchor, Drawing, Picture, Text
from service.painting.png import as_png

RANDOM = np.random.default_rng(3)


def pixels(content: bytes) -> NDArray[np.uint8]:
    """The picture (height, width, 3)."""
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return np.asarray(picture)


def test_a_picture_is_stretched_at_its_place() -> None:
    """Each colour is a rectangle with sharp edges, and all around it is white."""
    colours = RANDOM.integers(0, 255, (2, 3, 3)).astype(np.uint8)
    painted = pixels(as_png(Drawing("", 40, 30, pictures=[Picture(5, 7, 12, 10, colours, "")])))
    assert painted.shape == (30, 40, 3)
    np.testing.assert_array_equal(painted[7:17, 5:17], colours.repeat(5, axis=0).repeat(4, axis=1))
    painted = painted.copy()
    painted[7:17, 5:17] = 255
    assert (painted == 255).all()


@pytest.mark.parametrize(("anchor", "left", "right"), [("start", 50, 80), ("middle", 35, 65), ("end", 20, 50)])
def test_a_text_stands_by_its_anchor_on_its_baseline(anchor: Anchor, left: int, right: int) -> None:
    """Ink of its colour begins, is centred or ends at its place, and letters without a tail end at its baseline."""
    text = Text(50, 20, "HHHH", 11, "#ff0000", anchor)
    painted = pixels(as_png(Drawing("", 100, 40, texts=[text]))).astype(int)
    rows, columns = np.nonzero(painted[..., 1] < 128)
    assert rows.max() == 19 and 10 <= rows.min() <= 13
    assert abs(columns.min() - left) <= 2 and abs(columns.max() - right) <= 4
    assert painted[rows, columns, 0].min() == 255 and (painted[..., 1] == painted[..., 2]).all()


def test_signs_that_the_font_lacks_are_replaced() -> None:
    """A multiplication and a minus sign look like x and hyphen, and not like the box of what is missing."""
    signs, plain, missing = (
        as_png(Drawing("", 100, 40, texts=[Text(9, 20, words)])) for words in ("3×3 −1", "3x3 -1", "3一3 一1")
    )
    assert signs == plain != missing
