"""What every server is asked: MNIST's test digits, and where the model lies."""

import gzip
import io
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
KNOWN = 7
"""The first test digit, which a server has to answer before it is measured."""

_IMAGES = ROOT / "tests" / "data" / "t10k-images-idx3-ubyte.gz"


@cache
def digits(count: int) -> NDArray[np.uint8]:
    """The first test digits, bright ink on black, (count, 28, 28)."""
    with gzip.open(_IMAGES) as file:
        return np.frombuffer(file.read(16 + count * 784), np.uint8, offset=16).reshape(-1, 28, 28)


def png(digit: NDArray[np.uint8]) -> bytes:
    """A digit as a PNG of 28×28 pixels."""
    file = io.BytesIO()
    Image.fromarray(digit).save(file, "PNG")
    return file.getvalue()


def photograph(digit: NDArray[np.uint8], seed: int) -> bytes:
    """A digit as a JPEG of 1024×768 pixels: dark ink on paper that is lit unevenly, with the grain of a camera."""
    ink = np.zeros((768, 1024), np.float32)
    ink[160:608, 288:736] = np.asarray(Image.fromarray(digit).resize((448, 448), Image.Resampling.BICUBIC))
    paper = np.linspace(225, 160, 1024, dtype=np.float32) - np.linspace(0, 25, 768, dtype=np.float32)[:, None]
    grain = np.random.default_rng(seed).normal(0, 4, ink.shape)
    file = io.BytesIO()
    picture = np.clip(paper * (1 - 0.8 * ink / 255) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(picture).convert("RGB").save(file, "JPEG", quality=85)
    return file.getvalue()


def model_folder() -> Path:
    """The folder of the newest model version."""
    return max((ROOT / "models" / "digits").glob("[0-9]*"), key=lambda folder: int(folder.name))
