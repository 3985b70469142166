"""Arithmetic on what was measured: percentiles, medians with their spread, ratios taken round by round."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, and the least and the most of them."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        """For a table's cell, such as '1,234 (1,200–1,260)'."""
        return f"{short(self.median)} ({short(self.least)}–{short(self.most)})"


def spread(values: Iterable[float]) -> Spread:
    """The spread of one or more values."""
    values = list(values)
    return Spread(median(values), min(values), max(values))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of values in rising order, on the line between the two nearest; NaN of none."""
    if not ordered:
        return math.nan
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratios(upper: Sequence[float | None], lower: Sequence[float | None]) -> list[float]:
    """Upper to lower of each round that has both: what slows a whole round down cancels out of its own ratio."""
    return [above / below for above, below in zip(upper, lower, strict=True) if above is not None and below]


def in_a_row(*rates: float) -> float:
    """The rate of stages that share one CPU and so follow each other."""
    return 1 / sum(1 / rate for rate in rates)


def short(value: float) -> str:
    """A number with as many digits as are worth reading."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
