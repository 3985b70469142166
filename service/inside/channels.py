"""Channels by their numbers and ranges of numbers, as a query has them: 0,3,5-7."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedError

Channels = NDArray[np.intp]
"""Numbers of channels from 0, each once, in ascending order; those of a linear layer are of its values."""

_ITEM = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def choose_channels(asked: Sequence[str], layer: str, count: int) -> Channels:
    """Those of a layer's `count` channels that are asked for, each item also a list with commas; all if none is.

    Raises:
        MalformedError: an item is no number and no range, or the layer has no such channel.
    """
    if not asked:
        return np.arange(count)
    chosen = np.zeros(count, np.bool_)
    for item in (item.strip() for part in asked for item in part.split(",")):
        found = _ITEM.fullmatch(item)
        if not found:
            raise MalformedError(f"channels: '{item[:40]}' is neither a number nor a range such as 5-7")
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise MalformedError(f"channels: the range {item} is to begin with its smaller number")
        if last >= count:
            raise MalformedError(f"channels: {layer} has 0 to {count - 1}, and {last} is asked for")
        chosen[first : last + 1] = True
    return np.flatnonzero(chosen)


def as_text(channels: Channels) -> str:
    """The channels as a query may have them, runs of neighbours as ranges."""
    runs = np.split(channels, np.flatnonzero(np.diff(channels) > 1) + 1)
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
