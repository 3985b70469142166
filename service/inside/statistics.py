"""What a channel's values are like: extremes, mean, zeros, and whether its ReLU passes nothing or everything.

`dead` and `saturated` are about the ReLU that follows a convolution or a linear layer, on the picture at hand, and are
told of the values before it and after it alike. A channel is dead where no value is above zero: the ReLU passes
nothing of it on. A ReLU has no upper end at which it could saturate as a sigmoid does; what it can lose is its bend.
So a channel is saturated where every value is above zero: the ReLU cuts nothing, and the unit is merely linear. A
unit of a linear layer has one value a picture and would always be either, which says nothing, so it is told of none.
"""

import numpy as np
from numpy.typing import NDArray

from service.engine import Activations


def statistics(values: Activations) -> dict[str, NDArray[np.float32] | NDArray[np.bool_]]:
    """By name, each (images, channels), of values (images, channels, …).

    `minimum`, `maximum`, `mean`, `zeros` and `positive` are float32, the latter two the fractions of values that are
    exactly zero and above zero; `dead` and `saturated` are bool, and not there of values (images, units).
    """
    flat = values.reshape(*values.shape[:2], -1)
    minimum, maximum = flat.min(axis=2), flat.max(axis=2)
    figures: dict[str, NDArray[np.float32] | NDArray[np.bool_]] = {
        "minimum": minimum,
        "maximum": maximum,
        "mean": flat.mean(axis=2, dtype=np.float64).astype(np.float32),
        "zeros": (flat == 0).mean(axis=2).astype(np.float32),
        "positive": (flat > 0).mean(axis=2).astype(np.float32),
    }
    return figures | {"dead": maximum <= 0, "saturated": minimum > 0} if values.ndim > 2 else figures
