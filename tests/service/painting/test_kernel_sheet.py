"""The picture of kernels: each weight is a square of its colour, at the place of its kernel."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import MalformedError
from service.inside.kernels import choose_kernels
from service.manifest import Manifest
from service.painting.colour import DIVERGING
from service.painting.drawing import Drawing, Picture
from service.painting.kernel_sheet import check_drawable, draw_kernels
from service.painting.sheet import MARGIN, WIDTH

Parameters = Mapping[str, NDArray[np.float32]]
SHAPES = {"conv1": (8, 1, 3, 3), "conv2": (32, 8, 5, 5), "fc1": (600, 1568), "logits": (10, 600)}


@pytest.fixture(scope="module")
def parameters() -> Parameters:
    """Random weights and biases."""
    random = np.random.default_rng(4)
    drawn = {}
    for name, shape in SHAPES.items():
        drawn[f"{name}.weight"] = random.normal(0.1, 0.5, shape).astype(np.float32)
        drawn[f"{name}.bias"] = random.normal(0, 1, shape[0]).astype(np.float32)
    return drawn


def draw(manifest: Manifest, parameters: Parameters, name: str, channels: Sequence[str] = ()) -> Drawing:
    """The sheet as data, after a look that nothing overlaps and nothing is beyond its edges."""
    sheet = draw_kernels(choose_kernels(manifest, name, channels), parameters)
    taken = np.zeros((sheet.height, sheet.width), np.bool_)
    for picture in sheet.pictures:
        place = taken[picture.y : picture.y + picture.height, picture.x : picture.x + picture.width]
        assert place.shape == (picture.height, picture.width) and not place.any(), picture.title
        place[:] = True
    assert sheet.width == WIDTH and not taken[:, :MARGIN].any() and not taken[:, WIDTH - MARGIN :].any()
    assert all(0 <= text.x <= WIDTH and 0 < text.y < sheet.height for text in sheet.texts)
    return sheet


def by_title(sheet: Drawing) -> dict[str, Picture]:
    """The pictures but the legend by what they say of themselves, their range left out."""
    return {picture.title.partition(":")[0]: picture for picture in sheet.pictures[1:]}


def check(picture: Picture, weights: NDArray[np.float32], bound: float) -> None:
    """Each weight is a square of its colour over ±bound."""
    place = (weights.astype(np.float64) / bound + 1) / 2 * (len(DIVERGING) - 1)
    expected = DIVERGING[np.rint(place).astype(int)].astype(int)
    assert np.abs(picture.colours - expected).max() <= 6  # a neighbouring colour, where float32 rounds
    rows, columns = weights.shape
    assert picture.width % columns == 0 and picture.width // columns == picture.height // rows >= 5


def test_conv1_has_a_tile_for_each_output(manifest: Manifest, parameters: Parameters) -> None:
    """Eight kernels side by side, each with its number and bias."""
    sheet = draw(manifest, parameters, "conv1")
    weight, pictures = parameters["conv1.weight"], by_title(sheet)
    for channel in range(8):
        check(pictures.pop(f"conv1, output {channel}"), weight[channel, 0], float(np.abs(weight).max()))
    assert not pictures
    words = [text.words.replace("−", "-") for text in sheet.texts]
    for channel, bias in enumerate(parameters["conv1.bias"]):
        assert words[words.index(str(channel), 5) + 1] == f"bias {bias:.2g}"


@pytest.mark.parametrize(("asked", "channels"), [([], range(32)), (["3,17-20"], [3, 17, 18, 19, 20])])
def test_conv2_has_a_row_for_each_output(
    manifest: Manifest, parameters: Parameters, asked: list[str], channels: Sequence[int]
) -> None:
    """Outputs below each other and inputs side by side; a choice keeps its colours and has larger squares."""
    weight, pictures = parameters["conv2.weight"], by_title(draw(manifest, parameters, "conv2", asked))
    for channel in channels:
        row = [pictures.pop(f"conv2, output {channel}, input {number}") for number in range(8)]
        assert len({picture.y for picture in row}) == 1 and [picture.x for picture in row] == sorted(
            {picture.x for picture in row}
        )
        assert row[0].width == (80 if asked else 35)
        for picture, weights in zip(row, weight[channel], strict=True):
            check(picture, weights, float(np.abs(weight).max()))
    assert not pictures


def test_a_unit_of_fc1_is_drawn_over_the_maps_before(manifest: Manifest, parameters: Parameters) -> None:
    """Its 1568 weights are 32 maps of 7×7, channel by channel and row by row."""
    weight, pictures = parameters["fc1.weight"], by_title(draw(manifest, parameters, "fc1", ["7,599"]))
    for unit in (7, 599):
        for channel, weights in enumerate(weight[unit].reshape(32, 7, 7)):
            title = f"fc1, unit {unit}, channel {channel} of pool2"
            check(pictures.pop(title), weights, float(np.abs(weight).max()))
    assert not pictures


def test_the_logits_are_ten_strips(manifest: Manifest, parameters: Parameters) -> None:
    """Each digit's 600 weights stand in six rows of a hundred."""
    weight, pictures = parameters["logits.weight"], by_title(draw(manifest, parameters, "logits"))
    for unit in range(10):
        for start in range(0, 600, 100):
            picture = pictures.pop(f"logits, unit {unit}, values {start} to {start + 99}")
            check(picture, weight[unit, np.newaxis, start : start + 100], float(np.abs(weight).max()))
    assert not pictures


@pytest.mark.parametrize(("channels", "count"), [([], 600), (["0-10"], 11)])
def test_too_many_units_are_refused(manifest: Manifest, channels: list[str], count: int) -> None:
    """The sentence says how many a picture holds, and what holds all; a convolution is never too large."""
    said = f"^a picture shows at most 10 units of fc1, and {count} are asked for; channels=0-9 picks ten, and format="
    with pytest.raises(MalformedError, match=said):
        check_drawable(choose_kernels(manifest, "fc1", channels))
    for name, asked in (("fc1", ["0-9"]), ("logits", []), ("conv2", [])):
        check_drawable(choose_kernels(manifest, name, asked))


def test_weights_of_nothing_but_zeros_are_drawn(manifest: Manifest) -> None:
    """They have no range, and every one is near white."""
    zeros = {f"conv1.{kind}": np.zeros(shape, np.float32) for kind, shape in (("weight", (8, 1, 3, 3)), ("bias", 8))}
    pictures = by_title(draw(manifest, zeros, "conv1"))
    assert len(pictures) == 8 and all((picture.colours == DIVERGING[127]).all() for picture in pictures.values())
