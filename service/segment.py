"""The digits among what is drawn: connected pieces of ink, those of one digit joined, in reading order."""

from typing import NamedTuple

import numpy as np

from service.ink import STRONG, Drawn, Ink, Parts
from service.raster import dilated, pieces

_COUNTED = 64  # pieces: the largest ones; nobody writes as many digits as that into one picture
_PIECE = 0.02  # of the largest piece's area: smaller ones are joined to nothing
_TALL = 0.55  # of the tallest digit's height: what is lower is a part of a digit, not one
_HEAVY = 0.12  # of the largest digit's area: so much has a 1 beside an 8
_APART = 0.05  # of the height: digits that are nearer are not clearly two
_ABOVE = 0.3  # of the larger one's height: how far above or below a piece its digit's rest may be


class Place(NamedTuple):
    """One digit: its box as left, top, width, height, and the area of its ink, in pixels."""

    left: int
    top: int
    width: int
    height: int
    area: int


def is_several(parts: Parts) -> bool:
    """Whether pieces of ink are those of two or more digits of comparable size that are clearly apart."""
    if len(parts) < 2:
        return False
    return len(_comparable(_places(parts))) > 1


def digits_of(drawn: Drawn) -> list[tuple[Place, Ink]]:
    """Each digit's place, and its ink alone, in a picture of its box's size; left to right, line by line."""
    labels, parts = pieces(drawn.ink > STRONG)
    groups = _grouped(parts)
    large = max(_around(parts[group]).height for group in groups)
    found = []
    for group in groups:
        place = _around(parts[group])
        if place.height < _TALL / 2 * large and place.width < _TALL / 2 * large:
            continue
        left, top, width, height, _ = place
        part = np.s_[top : top + height, left : left + width]
        own = np.isin(labels[part], [number + 1 for number in group])
        others = (labels[part] > 0) & ~own
        found.append((place, np.where(dilated(own, 3) & ~others, drawn.ink[part], np.float32(0))))
    return _in_order(found)


def _in_order(found: list[tuple[Place, Ink]]) -> list[tuple[Place, Ink]]:
    """Digits line by line: those are on one line whose middle is beside the line's first, from the top."""
    rest = sorted(found, key=lambda each: each[0].top + each[0].height / 2)
    ordered = []
    while rest:
        first = max((rest[0][0], *(each[0] for each in rest if _beside(rest[0][0], each[0]))), key=lambda p: p.height)
        line = [each for each in rest if _beside(first, each[0])]
        rest = [each for each in rest if not _beside(first, each[0])]
        ordered += sorted(line, key=lambda each: each[0].left + each[0].width / 2)
    return ordered


def _beside(place: Place, other: Place) -> bool:
    """Whether the middle of one of two is between the top and the bottom of the other."""
    middle, centre = place.top + place.height / 2, other.top + other.height / 2
    return place.top <= centre <= place.top + place.height or other.top <= middle <= other.top + other.height


def _places(parts: Parts) -> list[Place]:
    return [_around(parts[group]) for group in _grouped(parts)]


def _around(parts: Parts) -> Place:
    """The box around some pieces."""
    left, top = int(parts[:, 0].min()), int(parts[:, 1].min())
    right, bottom = int((parts[:, 0] + parts[:, 2]).max()), int((parts[:, 1] + parts[:, 3]).max())
    return Place(left, top, right - left, bottom - top, int(parts[:, 4].sum()))


def _comparable(places: list[Place]) -> list[Place]:
    """The digits of about the largest one's size that are clearly apart from each larger one."""
    tallest = max(place.height for place in places)
    heaviest = max(place.area for place in places)
    found: list[Place] = []
    for place in sorted(places, key=lambda each: -each.height):
        if place.height < _TALL * tallest or place.area < _HEAVY * heaviest:
            continue
        if all(_distance(place, other) > _APART * tallest for other in found):
            found.append(place)
    return found


def _distance(one: Place, other: Place) -> int:
    """How many pixels are between two boxes, in the direction in which they are farther apart; below 0 they overlap."""
    across = max(one.left, other.left) - min(one.left + one.width, other.left + other.width)
    along = max(one.top, other.top) - min(one.top + one.height, other.top + other.height)
    return max(across, along)


def _grouped(parts: Parts) -> list[list[int]]:
    """The numbers of the pieces of each digit."""
    least = _PIECE * int(parts[:, 4].max())
    order = [int(number) for number in np.argsort(-parts[:, 4])[:_COUNTED] if parts[number, 4] >= least]
    groups: list[list[int]] = []
    for number in order:
        near = [group for group in groups if any(_are_joined(parts[number], parts[other]) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([number, *(other for group in near for other in group)])
    return groups


def _are_joined(piece: Parts, other: Parts) -> bool:
    """Whether two pieces are parts of one digit: one above the other, or the smaller one within reach of the larger."""
    one, two = Place(*map(int, piece)), Place(*map(int, other))
    across = max(one.left, two.left) - min(one.left + one.width, two.left + two.width)
    along = max(one.top, two.top) - min(one.top + one.height, two.top + two.height)
    low, high = sorted((one.height, two.height))
    if -across >= 0.4 * min(one.width, two.width):  # one above the other, or around it
        # Two that are as high as digits are lines of writing, unless they nearly touch.
        return along <= (_ABOVE if low < 0.6 * high else 0.1) * high
    return low < 0.6 * high and max(across, along) <= 0.12 * high
