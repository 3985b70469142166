"""A drawing painted as a PNG (W3C, "Portable Network Graphics", third edition), by Pillow."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.encoding import to_png
from service.painting.drawing import Drawing, Text

_FINER = 4  # times, that texts are drawn and then reduced: at their size letters would stand on whole pixels, uneven
_SHARES = {"start": 0.0, "middle": 0.5, "end": 1.0}  # of a text's width that is left of its place
_SUBSTITUTES = str.maketrans("×−", "x-")  # the font that Pillow brings along has neither


def as_png(drawing: Drawing) -> bytes:
    """The drawing as an RGB PNG of its size."""
    painted = Image.new("RGB", (drawing.width, drawing.height), "white")
    for picture in drawing.pictures:
        size = (picture.width, picture.height)
        painted.paste(Image.fromarray(picture.colours).resize(size, Image.Resampling.NEAREST), (picture.x, picture.y))
    fonts = {size: ImageFont.load_default(_FINER * size) for size in {text.size for text in drawing.texts}}
    for text in drawing.texts:
        _write(painted, text, fonts[text.size])
    return to_png(np.asarray(painted))


def _write(painted: Image.Image, text: Text, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
    words = text.words.translate(_SUBSTITUTES)
    length = font.getlength(words)
    left = text.x - _SHARES[text.anchor] * length / _FINER
    x, above = math.floor(left), 2 * text.size  # pixels above the baseline, as many as are below: room for any letter
    mask = Image.new("L", (math.ceil(length) + 2 * _FINER, 2 * above * _FINER))
    ImageDraw.Draw(mask).text(((left - x) * _FINER, above * _FINER), words, 255, font, anchor="ls")
    painted.paste(text.colour, (x, text.y - above), mask.reduce(_FINER))
