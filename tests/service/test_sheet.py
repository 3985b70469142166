"""The picture of feature maps: each value is a square of its palette's colour, at its place."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.colour import DIVERGING, SEQUENTIAL
from service.features import Scale, choose_layers
from service.manifest import Manifest
from service.sheet import draw_sheet

# The sheet's geometry, in pixels, as it is documented in service/sheet.py.
MARGIN, TITLE, TILE, GAP, CAPTION, CELL = 16, 44, 84, 8, 14, 12
WIDTH = 2 * MARGIN + 8 * TILE + 7 * GAP
Values = dict[str, NDArray[np.float32]]


def draw(manifest: Manifest, values: Values, scale: Scale = "layer") -> NDArray[np.uint8]:
    """The sheet's pixels (height, width, 3)."""
    picture = Image.open(io.BytesIO(draw_sheet(choose_layers(manifest, list(values)), values, scale)))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return np.asarray(picture)


def random_values(manifest: Manifest, *names: str) -> Values:
    """Activations of one picture, as many signs as each layer can have."""
    random = np.random.default_rng(9)
    values = {}
    for layer in manifest.layers:
        drawn = random.normal(0.3, 2, layer.shape).astype(np.float32)
        values[layer.name] = drawn if layer.operator in ("Conv", "Gemm") else np.maximum(drawn, 0)
    return {name: values[name] for name in names}


def tile(sheet: NDArray[np.uint8], index: int, side: int, top: int = MARGIN) -> NDArray[np.uint8]:
    """The colours of map `index` of a layer that begins at `top`: one for each value, checked to fill its square."""
    row, column = divmod(index, 8)
    y, x = top + TITLE + row * (TILE + CAPTION + GAP), MARGIN + column * (TILE + GAP)
    cell = TILE // side
    squares = sheet[y : y + TILE, x : x + TILE].reshape(side, cell, side, cell, 3)
    assert (squares == squares[:, :1, :, :1]).all(), "a value is not one square of one colour"
    return squares[:, 0, :, 0]


def colours(values: NDArray[np.float32], bound: float, *, signed: bool) -> NDArray[np.int64]:
    """The colours that values are to have over ±bound or 0–bound."""
    palette = DIVERGING if signed else SEQUENTIAL
    share = (values.astype(np.float64) / bound + 1) / 2 if signed else values.astype(np.float64) / bound
    return np.asarray(palette[np.rint(share * (len(palette) - 1)).astype(int)], np.int64)


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [("conv1", 8, 28), ("relu1", 8, 28), ("pool1", 8, 14), ("conv2", 32, 14), ("pool2", 32, 7)],
)
@pytest.mark.parametrize("scale", ["map", "layer"])
def test_each_value_has_its_colour_at_its_place(
    manifest: Manifest, name: str, channels: int, side: int, scale: Scale
) -> None:
    """Every map stands in reading order, eight a row, scaled over itself or over its layer."""
    values = random_values(manifest, name)
    sheet = draw(manifest, values, scale)
    assert sheet.shape == (2 * MARGIN + TITLE + channels // 8 * (TILE + CAPTION + GAP), WIDTH, 3)
    for index, single in enumerate(values[name]):
        bound = float(np.abs(single if scale == "map" else values[name]).max())
        expected = colours(single, bound, signed=name.startswith("conv"))
        assert np.abs(tile(sheet, index, side) - expected).max() <= 6  # a neighbouring colour, where float32 rounds


def test_all_layers_share_one_range(manifest: Manifest) -> None:
    """With scale=all the layer of large values is coloured and the one of small values is near zero's white."""
    values = random_values(manifest, "conv1", "conv2")
    values["conv2"] *= 100
    bound = float(np.abs(values["conv2"]).max())
    sheet = draw(manifest, values, "all")
    assert np.abs(tile(sheet, 3, 28) - colours(values["conv1"][3], bound, signed=True)).max() <= 6
    below = MARGIN + TITLE + (TILE + CAPTION + GAP) + MARGIN
    assert np.abs(tile(sheet, 17, 14, below) - colours(values["conv2"][17], bound, signed=True)).max() <= 6


def test_a_linear_layer_is_one_grid(manifest: Manifest) -> None:
    """The 600 values of fc1 stand in 20 rows of 30."""
    values = random_values(manifest, "fc1")
    sheet = draw(manifest, values)
    assert sheet.shape == (2 * MARGIN + TITLE + 20 * CELL, WIDTH, 3)
    squares = sheet[MARGIN + TITLE :][: 20 * CELL, MARGIN : MARGIN + 30 * CELL].reshape(20, CELL, 30, CELL, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    expected = colours(values["fc1"].reshape(20, 30), float(np.abs(values["fc1"]).max()), signed=True)
    assert np.abs(squares[:, 0, :, 0] - expected).max() <= 6


@pytest.mark.parametrize(("name", "palette"), [("conv1", DIVERGING), ("relu1", SEQUENTIAL)])
def test_the_legend_shows_the_whole_palette(manifest: Manifest, name: str, palette: NDArray[np.uint8]) -> None:
    """A bar at the upper right runs from the palette's first colour to its last."""
    bar = draw(manifest, random_values(manifest, name))[MARGIN + 6, WIDTH - MARGIN - 160 : WIDTH - MARGIN]
    np.testing.assert_array_equal(bar[[0, -1]], palette[[0, -1]])
    assert (palette[:, None] == bar).all(axis=-1).any(axis=0).all(), "a colour of the bar is none of the palette"


@pytest.mark.parametrize("scale", ["map", "layer", "all"])
def test_every_layer_and_every_map_is_labelled(manifest: Manifest, scale: Scale) -> None:
    """Ink that is neither a map nor the legend stands in each title and under each map."""
    sheet = draw(manifest, random_values(manifest, "conv2"), scale)
    assert (sheet[MARGIN : MARGIN + 36, MARGIN : MARGIN + 200].min(axis=2) < 100).any(), "no title"
    for index in range(32):
        row, column = divmod(index, 8)
        y, x = MARGIN + TITLE + row * (TILE + CAPTION + GAP) + TILE, MARGIN + column * (TILE + GAP)
        assert (sheet[y : y + CAPTION, x : x + TILE].min(axis=2) < 200).any(), f"no caption under map {index}"


def test_a_blank_network_is_drawn(manifest: Manifest) -> None:
    """Maps of nothing but zeros are near white where signs exist and dark where they do not."""
    zeros = {name: np.zeros_like(value) for name, value in random_values(manifest, "conv1", "relu1").items()}
    sheet = draw(manifest, zeros, "map")
    assert (tile(sheet, 0, 28) == DIVERGING[127]).all() and DIVERGING[127].min() > 240
    below = MARGIN + TITLE + (TILE + CAPTION + GAP) + MARGIN
    assert (tile(sheet, 0, 28, below) == SEQUENTIAL[0]).all()


def test_a_legend_ends_where_its_colours_do(manifest: Manifest) -> None:
    """With scale=all a layer that is never negative runs to the largest value, however negative another layer is."""
    values = random_values(manifest, "conv1", "relu1")
    values["relu1"] = np.abs(values["relu1"])
    high = max(float(value.max()) for value in values.values())
    sheets = []
    for low in (-high / 2, -100 * high):
        values["conv1"] = np.clip(values["conv1"], -high / 2, None)
        values["conv1"][0, 0, 0] = low
        sheets.append(draw(manifest, values, "all"))
    below = MARGIN + TITLE + (TILE + CAPTION + GAP) + MARGIN
    assert (sheets[0][below:] == sheets[1][below:]).all()
    assert (sheets[0][:below] != sheets[1][:below]).any()
