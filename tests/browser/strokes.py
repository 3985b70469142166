"""Ten digits as somebody draws them: strokes of points, in parts of the pad's width and height from its top left."""

import math

Stroke = tuple[tuple[float, float], ...]


def _arc(x: float, y: float, wide: float, high: float, start: float, stop: float, steps: int = 14) -> Stroke:
    """A piece of an ellipse around a middle; angles in turns, clockwise from the right."""
    angles = [2 * math.pi * (start + (stop - start) * step / steps) for step in range(steps + 1)]
    return tuple((x + wide * math.cos(angle), y + high * math.sin(angle)) for angle in angles)


DIGITS: dict[int, tuple[Stroke, ...]] = {
    0: (_arc(0.5, 0.5, 0.2, 0.3, 0.75, 1.75),),
    1: (((0.5, 0.2), (0.5, 0.8)),),
    2: ((*_arc(0.5, 0.36, 0.18, 0.16, 0.55, 1.1), (0.3, 0.8), (0.74, 0.8)),),
    3: ((*_arc(0.48, 0.35, 0.18, 0.15, 0.55, 1.25), *_arc(0.48, 0.65, 0.2, 0.16, 0.75, 1.4)),),
    4: (((0.36, 0.2), (0.28, 0.55), (0.74, 0.55)), ((0.62, 0.22), (0.6, 0.85))),
    5: (((0.7, 0.2), (0.38, 0.2), (0.36, 0.46)), _arc(0.48, 0.62, 0.2, 0.19, 0.62, 1.4)),
    6: (((0.62, 0.16), (0.42, 0.4), *_arc(0.5, 0.64, 0.17, 0.17, 0.5, 1.5)),),
    7: (((0.28, 0.22), (0.72, 0.22), (0.45, 0.85)),),
    8: ((*_arc(0.5, 0.34, 0.15, 0.15, 0.25, 1.25), *_arc(0.5, 0.66, 0.18, 0.17, 0.75, 1.75)),),
    9: ((*_arc(0.48, 0.36, 0.17, 0.16, 0, 1), (0.65, 0.36), (0.58, 0.84)),),
}
