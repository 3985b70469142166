"""A sheet of signed maps over the digit that they are of."""

import numpy as np
from numpy.typing import NDArray

from service.inside.attribution import Attribution
from service.inside.explanation import Explanation
from service.painting.drawing import Drawing
from service.painting.sheet import GAP, MARGIN, WIDTH, Sheet, Span, number

_CELL = 12  # pixels of a value's side in the only map, beside which the digit stands by itself
_SMALL, _COLUMNS = 5, 5  # and where there are several, side by side
_LINE = 16  # pixels of a line of text
_CAPTION = 16
_SHADE = 0.22  # of the ink beneath the colours


def draw_attribution(digit: NDArray[np.uint8], explanation: Explanation) -> Drawing:
    """The maps over the digit, uint8 (28, 28), all over ± the largest magnitude of them all, zero near white."""
    bound = max(each.bound for each in explanation.found)
    span = Span(-bound, bound, signed=True)
    single = len(explanation.found) == 1
    whose = str(explanation.found[0].digit) if single else "each digit"
    sheet = Sheet(f"{explanation.method} for {whose}")
    read = f"the network reads {explanation.guess} with {float(explanation.confidence):.1%}"
    ends = (f"−{number(bound, 2)} against", f"for {number(bound, 2)}")
    sheet.heading(sheet.title, f"{read} · in {explanation.unit}", signed=True, ends=ends)
    if single:
        _lines(sheet, explanation)
        _alone(sheet, digit, explanation.found[0], span)
    else:
        _several(sheet, digit, explanation, span)
    sheet.top += MARGIN
    return sheet.finished()


def _lines(sheet: Sheet, explanation: Explanation) -> None:
    """How true the only map is, in words."""
    for measured in explanation.measured.values():
        for name, course, better in (
            ("deletion", measured.deletion, "less"),
            ("insertion", measured.insertion, "more"),
        ):
            words = f"{name} {course.area:.2f} (random order {course.random_area:.2f}, {better} is better)"
            sheet.text(MARGIN, sheet.top + 11, words)
            sheet.top += _LINE
        sheet.top += GAP


def _alone(sheet: Sheet, digit: NDArray[np.uint8], found: Attribution, span: Span) -> None:
    side = len(digit) * _CELL
    sheet.tile(MARGIN, sheet.top, _CELL, found.map, span, f"for {found.digit}", beneath=_light(digit))
    sheet.grey(MARGIN + side + GAP, sheet.top, _CELL, digit, "the digit as the network sees it")
    sheet.top += side


def _several(sheet: Sheet, digit: NDArray[np.uint8], explanation: Explanation, span: Span) -> None:
    side = len(digit) * _SMALL
    pitch = (WIDTH - 2 * MARGIN - side) // (_COLUMNS - 1)
    for index, found in enumerate(explanation.found):
        row, column = divmod(index, _COLUMNS)
        x, y = MARGIN + column * pitch, sheet.top + row * (side + _CAPTION + GAP)
        sheet.tile(x, y, _SMALL, found.map, span, f"for {found.digit}", beneath=_light(digit))
        sheet.text(x, y + side + 11, str(found.digit), ink=found.digit == explanation.guess)
        sheet.text(x + side, y + side + 11, f"±{number(found.bound, 2)}", anchor="end")
    sheet.top += -(-len(explanation.found) // _COLUMNS) * (side + _CAPTION + GAP)


def _light(digit: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is left of a colour over each pixel, (28, 28): less of it where the digit has ink."""
    light: NDArray[np.float32] = 1 - np.float32(_SHADE) * digit / np.float32(255)
    return light
