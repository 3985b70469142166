"""The picture of feature maps: each value is a square of its palette's colour, at its place."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.inside.features import Scale, choose
from service.manifest import Manifest
from service.painting.colour import DIVERGING, SEQUENTIAL
from service.painting.drawing import Drawing
from service.painting.feature_sheet import draw_features
from service.painting.png import as_png

# The sheet's geometry, in pixels, as service/painting/sheet.py and feature_sheet.py document it.
MARGIN, TITLE, TILE, GAP, CAPTION, LABELS, CELL, ROW = 16, 44, 84, 8, 14, 28, 14, 50
WIDTH = 2 * MARGIN + 8 * TILE + 7 * GAP
Values = dict[str, NDArray[np.float32]]


def drawing(manifest: Manifest, values: Values, scale: Scale = "layer", channels: Sequence[str] = ()) -> Drawing:
    """The sheet as data."""
    return draw_features(choose(manifest, list(values), channels), values, scale)


def draw(manifest: Manifest, values: Values, scale: Scale = "layer", channels: Sequence[str] = ()) -> NDArray[np.uint8]:
    """The sheet's pixels (height, width, 3)."""
    picture = Image.open(io.BytesIO(as_png(drawing(manifest, values, scale, channels))))
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
    """The 600 values of fc1 stand in 12 rows of 50, and those of a choice that fills no row in a shorter one."""
    values = random_values(manifest, "fc1")
    sheet = draw(manifest, values)
    assert sheet.shape == (2 * MARGIN + TITLE + 12 * CELL, WIDTH, 3)
    bound = float(np.abs(values["fc1"]).max())
    assert np.abs(rows(sheet, 12, ROW) - colours(values["fc1"].reshape(12, ROW), bound, signed=True)).max() <= 6
    sheet = draw(manifest, values, channels=["3,100-152,599"])
    chosen = values["fc1"][[3, *range(100, 153), 599]]
    assert sheet.shape == (2 * MARGIN + TITLE + 2 * CELL, WIDTH, 3)
    assert np.abs(rows(sheet, 1, ROW) - colours(chosen[np.newaxis, :ROW], bound, signed=True)).max() <= 6
    rest = rows(sheet[CELL:], 1, ROW)
    assert np.abs(rest[:, :5] - colours(chosen[np.newaxis, ROW:], bound, signed=True)).max() <= 6
    assert (rest[:, 5:] == 255).all()


def rows(sheet: NDArray[np.uint8], count: int, length: int) -> NDArray[np.uint8]:
    """The colours of a linear layer's first rows."""
    squares = sheet[MARGIN + TITLE :, MARGIN + LABELS :][: count * CELL, : length * CELL]
    squares = squares.reshape(count, CELL, length, CELL, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    return squares[:, 0, :, 0]


@pytest.mark.parametrize("scale", ["map", "layer", "all"])
def test_chosen_channels_keep_their_colours(manifest: Manifest, scale: Scale) -> None:
    """A channel that is chosen looks as it does among all of them, at the next place."""
    values = random_values(manifest, "conv1")
    whole, chosen = draw(manifest, values, scale), draw(manifest, values, scale, ["2,5-6"])
    for index, channel in enumerate((2, 5, 6)):
        assert (tile(chosen, index, 28) == tile(whole, channel, 28)).all()
    assert (chosen[MARGIN + TITLE :, MARGIN + 3 * (TILE + GAP) :] == 255).all()


@pytest.mark.parametrize("scale", ["map", "layer"])
def test_dead_and_saturated_maps_say_so(manifest: Manifest, scale: Scale) -> None:
    """In the caption and in the title, of a map with nothing above zero and of one with nothing else."""
    values = random_values(manifest, "conv1", "fc1")
    values["conv1"][3] = -np.abs(values["conv1"][3])
    values["conv1"][6] = np.abs(values["conv1"][6]) + 0.1
    values["fc1"] = np.where(np.arange(600) < 589, -1, 1).astype(np.float32)
    sheet = drawing(manifest, values, scale)
    words = [text.words for text in sheet.texts]
    assert words.count("dead") == words.count("saturated") == 1
    assert words[words.index("3") + 1] == "dead" and words[words.index("6") + 1] == "saturated"
    assert [picture.title.partition(":")[0] for picture in sheet.pictures[4:9:3]] == [
        "conv1, channel 3, dead",
        "conv1, channel 6, saturated",
    ]
    assert "linear · 600 values, 50 a row · 11 above zero" in words


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
