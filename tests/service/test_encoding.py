"""Arrays as files: each is read back by the library that the format is of."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from service.encoding import to_npy, to_npz, to_png, to_url

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("shape", "mode"), [((28, 28), "L"), ((3, 700), "L"), ((28, 17, 3), "RGB"), ((1, 1, 3), "RGB")]
)
def test_a_png_keeps_every_pixel(shape: tuple[int, ...], mode: str) -> None:
    """Grey levels and colours, one pixel each, nothing lost; in a data URL too."""
    colours = RANDOM.integers(0, 256, shape).astype(np.uint8)
    png = to_png(colours)
    for content in (png, base64.b64decode(to_url(png).removeprefix("data:image/png;base64,"))):
        picture = Image.open(io.BytesIO(content))
        assert (picture.format, picture.mode) == ("PNG", mode)
        np.testing.assert_array_equal(np.asarray(picture), colours)


@pytest.mark.parametrize("shape", [(), (600,), (2, 8, 28, 28), (0, 3)])
def test_numbers_keep_every_bit(shape: tuple[int, ...]) -> None:
    """NumPy reads NPY and NPZ back without pickle, type and shape as they were."""
    values = RANDOM.normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(np.load(io.BytesIO(to_npy(values)), allow_pickle=False), values, strict=True)
    with np.load(io.BytesIO(to_npz({"b": values, "a": values + 1})), allow_pickle=False) as back:
        assert list(back) == ["b", "a"]
        np.testing.assert_array_equal(back["b"], values, strict=True)
        np.testing.assert_array_equal(back["a"], values + 1)
