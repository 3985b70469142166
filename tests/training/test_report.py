"""What a person reads: pictures that can be drawn of every result, and the table of layers."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from training.data import Digits
from training.evaluation import Evaluation
from training.model import ARCHITECTURE
from training.report import draw_confusion, draw_curves, draw_misread, draw_reliability, layer_table


def evaluation(digits: Digits, misread: int) -> Evaluation:
    """Answers to 150 real digits of which the first ones are read as the next digit."""
    some = digits.take(slice(150))
    read = (some.labels + (np.arange(150) < misread)) % 10
    probabilities = 0.01 + 0.9 * np.eye(10)[read]
    return Evaluation("some", some, np.log(probabilities), probabilities)


def picture(path: Path) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """A PNG as grey levels."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize("misread", [0, 1, 13, 150])
def test_pictures_are_drawn_of_any_number_of_mistakes(digits: Digits, tmp_path: Path, misread: int) -> None:
    """None, one, a row and one, and more than are shown: every picture can be drawn, and has ink."""
    found = evaluation(digits, misread)
    draw_reliability(found, tmp_path / "reliability.png")
    draw_confusion(found, tmp_path / "confusion.png")
    draw_misread(found, tmp_path / "misread.png")
    for path in tmp_path.iterdir():
        assert picture(path).std() > 1


def test_the_mosaic_shows_the_misread_digits_and_no_other(digits: Digits, tmp_path: Path) -> None:
    """With one mistake there is about one digit's ink, with none none but the title's, and with ten some ten times."""
    ink = []
    for misread in (0, 1, 10):
        draw_misread(evaluation(digits, misread), tmp_path / "misread.png")
        ink.append(int((255 - picture(tmp_path / "misread.png")[60:].astype(int)).sum()))
    assert ink[0] < 0.2 * (ink[1] - ink[0])
    assert 6 < (ink[2] - ink[0]) / (ink[1] - ink[0]) < 15


def test_curves_are_drawn_of_a_journal(tmp_path: Path) -> None:
    """Steps and epochs of a journal make a picture, and so does a run that has none."""
    steps = [{"step": n, "loss": 1 / n, "learning_rate": 0.1} for n in range(1, 9)]
    epochs = [{"step": 4 * n, "epoch": n, "loss": 0.5 / n, "accuracy": 0.9} for n in (1, 2)]
    draw_curves([*steps, *epochs], tmp_path / "full.png")
    draw_curves([], tmp_path / "empty.png")
    full, empty = picture(tmp_path / "full.png"), picture(tmp_path / "empty.png")
    assert full.shape[1] == empty.shape[1] == 960
    assert (full < 200).sum() != (empty < 200).sum()


def test_the_table_has_every_layer_s_arithmetic() -> None:
    """Rows hold sizes, hyperparameters, formulas and counts as they are on paper, and the foot their sums."""
    console = Console(width=130, file=io.StringIO())
    console.print(layer_table(ARCHITECTURE))
    assert isinstance(console.file, io.StringIO)
    rows = {
        cells[0]: cells[1:]
        for line in console.file.getvalue().splitlines()
        if len(cells := [cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")]) == 9
    }
    assert list(rows) == ["layer", *(layer.name for layer in ARCHITECTURE), "all"]
    assert rows["conv1"] == ["Conv", "8×28×28", "3", "1", "1", "⌊(28 − 3 + 2·1)/1⌋ + 1 = 28", "80", "56,448"]
    assert rows["pool1"] == ["MaxPool", "8×14×14", "2", "2", "0", "⌊(28 − 2 + 2·0)/2⌋ + 1 = 14", "", ""]
    assert rows["conv2"] == ["Conv", "32×14×14", "5", "1", "2", "⌊(14 − 5 + 2·2)/1⌋ + 1 = 14", "6,432", "1,254,400"]
    assert rows["pool2"] == ["MaxPool", "32×7×7", "2", "2", "0", "⌊(14 − 2 + 2·0)/2⌋ + 1 = 7", "", ""]
    assert rows["fc1"] == ["Gemm", "600", "", "", "", "", "941,400", "940,800"]
    assert rows["logits"] == ["Gemm", "10", "", "", "", "", "6,010", "6,000"]
    assert rows["all"][-2:] == ["953,922", f"{56_448 + 1_254_400 + 940_800 + 6_000:,}"]
