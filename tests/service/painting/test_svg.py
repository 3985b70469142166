"""A drawing as an SVG, read by a real XML parser."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.painting.drawing import Drawing, Picture, Text
from service.painting.svg import as_svg
from tests.service.vector import SVG, described, parsed, shown

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))


@settings(deadline=None, max_examples=60)
@given(WORDS, WORDS, WORDS)
def test_words_are_texts_whatever_they_are(title: str, words: str, said: str) -> None:
    """Titles and texts come back as they are, brackets, ampersands and quotation marks among them."""
    colours = np.zeros((1, 1, 3), np.uint8)
    drawing = Drawing(title, 50, 40, [Text(3, 4, words)], [Picture(1, 2, 3, 4, colours, said)])
    root = parsed(as_svg(drawing))
    assert (root.findtext(f"{SVG}title"), root.get("role")) == (title, "img")
    assert [text.text or "" for text in root.iter(f"{SVG}text")] == [words]
    assert described(root) == [said]


def test_everything_is_at_its_place() -> None:
    """Size, rectangles, anchors, sizes and colours are those of the drawing."""
    colours = np.random.default_rng(1).integers(0, 255, (3, 5, 3)).astype(np.uint8)
    texts = [Text(30, 20, "a", 15, "#123456"), Text(31, 21, "b", anchor="end")]
    root = parsed(as_svg(Drawing("t", 90, 80, texts, [Picture(1, 2, 50, 30, colours, "p")])))
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("90", "80", "0 0 90 80")
    assert [text.attrib for text in root.iter(f"{SVG}text")] == [
        {"x": "30", "y": "20", "font-size": "15", "fill": "#123456"},
        {"x": "31", "y": "21", "font-size": "11", "fill": "#6b6b78", "text-anchor": "end"},
    ]
    (image,) = root.iter(f"{SVG}image")
    assert [image.get(name) for name in ("x", "y", "width", "height")] == ["1", "2", "50", "30"]
    assert (image.get("image-rendering"), image.get("preserveAspectRatio")) == ("pixelated", "none")
    np.testing.assert_array_equal(shown(image), colours)
