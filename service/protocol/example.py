"""An inference request that works, for the OpenAPI document: a seven of two strokes."""

from typing import Any

import numpy as np


def example_request() -> dict[str, Any]:
    """The JSON body of a request for the probabilities of one digit, which is a 7."""
    image = np.zeros((28, 28), np.uint8)
    image[6:8, 8:20] = 255
    for row in range(8, 22):
        right = 19 - (row - 8) // 2
        image[row, right - 2 : right + 1] = 255
    tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": image.reshape(-1).tolist()}
    return {"id": "seven", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}
