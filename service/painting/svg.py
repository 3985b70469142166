"""A drawing painted as an SVG (W3C, "Scalable Vector Graphics 2"): texts as text, pictures as PNG data URLs.

It has no script and no style sheet and names nothing outside itself, so that a page with a strict content security
policy may hold it.
"""

from collections.abc import Iterator
from html import escape

from service.encoding import to_png, to_url
from service.painting.drawing import Drawing, Picture, Text

_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def as_svg(drawing: Drawing) -> bytes:
    """The drawing as an SVG document in UTF-8, of the size of its PNG and to be scaled at will."""
    return "\n".join((*_lines(drawing), "")).encode()


def _lines(drawing: Drawing) -> Iterator[str]:
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{_FONTS}">'
    yield f"<title>{escape(drawing.title)}</title>"
    yield '<rect width="100%" height="100%" fill="#fff"/>'
    yield from map(_image, drawing.pictures)
    yield from map(_text, drawing.texts)
    yield "</svg>"


def _image(picture: Picture) -> str:
    place = f'x="{picture.x}" y="{picture.y}" width="{picture.width}" height="{picture.height}"'
    look = 'preserveAspectRatio="none" image-rendering="pixelated"'
    return (
        f'<image {place} {look} href="{to_url(to_png(picture.colours))}"><title>{escape(picture.title)}</title></image>'
    )


def _text(text: Text) -> str:
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    look = f'font-size="{text.size}" fill="{text.colour}"'
    return f'<text x="{text.x}" y="{text.y}" {look}{anchor}>{escape(text.words)}</text>'
