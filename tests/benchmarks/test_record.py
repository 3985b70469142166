"""The page of the record recipe: what its figures are of. Nothing is trained for long here."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import record
from benchmarks.record import Result, ended, fewer, judge, measure, read_test, teaching_seconds, write_page
from training.configuration import Configuration, Teaching
from training.data import Digits, Mnist
from training.model import DigitNet

TINY = Configuration(split=0, epochs=1, batch=64, validation=100, teaching=Teaching(teachers=1, epochs=1, views=1))


def test_a_result_names_the_digits_misread(network: DigitNet, digits: Digits) -> None:
    """They are those whose largest logit is not the label's."""
    some = digits.take(slice(50))
    logits = network(torch.tensor(some.images).float()).detach().numpy()
    assert judge(network, some).misread == [n for n in range(50) if logits[n].argmax() != some.labels[n]]


def test_fewer_is_the_difference_of_means_with_an_interval() -> None:
    """Two seeds that both gain nine of ten digits are surely better; one that gains and loses one may be neither."""
    bad, good = Result(list(range(10)), 0), Result([4], 0)
    saved, low, high = fewer([good, good], [bad, bad], 1000)
    assert saved == 9 and 3 < low < 9 < high < 16
    assert fewer([good], [good, bad], 1000)[0] == 4.5
    saved, low, high = fewer([Result([1], 0)], [Result([2], 0)], 1000)
    assert saved == 0 and low < 0 < high


def test_the_page_has_every_row_that_was_run() -> None:
    """Counts by seed, mean and spread; rows without a result are left out, and so are test figures."""
    one, other = Result(list(range(20)), 0.02, 60, 120), Result(list(range(30)), 0.04, 60, 120)
    rows = {"alone": {0: one, 1: other}, "mild": {}, "taught": {0: other, 1: other}}
    page = write_page({"machine": "one"}, rows, {0: one}, {}, [0.99])
    assert "- machine: one\n" in page
    assert "| labels alone | 20, 30 | 99.50% ± 0.14% | 0.0300 ± 0.0141 |  |\n" in page
    assert "| teachers, at temperature 1 | 30, 30 | 99.40% ± 0.00% | 0.0400 ± 0.0000 | -5.0 (" in page
    assert "the fast recipe's distortions" not in page
    assert "| 0 | 20 |  |  |  |  | 60 | 120 |\n" in page and "Test accuracy" not in page
    tested = {seed: Result([947, *range(seed + 1)], 0.01) for seed in range(5)}
    page = write_page({}, rows, dict.fromkeys(range(5), one), tested, [0.99, 0.98])
    assert "| 4 | 20 | 6 | 99.94% | 1 | 0.0100 | 60 | 120 |\n" in page
    assert "mean 99.960%, standard deviation 0.016%, from 99.94% to 99.98%" in page
    assert "no seed below 99.65%, is reached. The seeds of the model that ships have a mean of 98.500%" in page
    tested[2] = Result(list(range(36)), 0.01)
    assert "is not reached." in write_page({}, rows, dict.fromkeys(range(5), one), tested, [0.99])


def test_seeds_are_trained_and_tested_once(
    small: Callable[..., Mnist], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call trains nothing and reads nothing; what is kept is what the networks answer."""
    mnist, runs = small(), tmp_path / "runs"
    monkeypatch.setattr(record, "RECORD", TINY)
    monkeypatch.setattr(record, "SEEDS", range(2))
    for seed in range(2):
        assert list(ended(TINY, range(5), runs)) == list(range(seed))
        measure(dataclasses.replace(TINY, seed=seed), mnist, runs)
    results = ended(TINY, range(5), runs)
    assert all(result.seconds > 0 and max(result.misread) < 100 for result in results.values())
    assert teaching_seconds(runs) > 0
    tested = read_test(mnist, runs)
    assert list(tested) == [0, 1] and all(len(result.misread) <= 40 for result in tested.values())
    monkeypatch.setattr(record, "fit", lambda *_: pytest.fail("a network was trained"))
    monkeypatch.setattr(mnist, "test", lambda: pytest.fail("the test set was read"))
    measure(TINY, mnist, runs)
    assert ended(TINY, range(5), runs) == results
    assert read_test(mnist, runs) == tested


def test_the_command_writes_what_was_asked_for(
    small: Callable[..., Mnist], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row and one seed: page and figures, and the test labels are not read."""
    mnist = small()
    monkeypatch.setattr(mnist, "test", lambda: pytest.fail("the test set was read"))
    monkeypatch.setattr(record, "Mnist", lambda: mnist)
    monkeypatch.setattr(record, "RECORD", TINY)
    monkeypatch.setattr(record, "ROWS", {"alone": ("labels alone", dataclasses.replace(TINY, teaching=None))})
    record.main(["--seeds", "3", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    document = json.loads((tmp_path / "out" / "record.json").read_text())
    misread = document["rows"]["alone"]["3"]["misread"]
    assert misread and np.all(np.diff(misread) > 0) and document["test"] == {} and document["seeds"] == {}
    assert f"| labels alone | {len(misread)} |" in (tmp_path / "out" / "record.md").read_text()


@pytest.mark.parametrize("name", list(record.ROWS))
def test_every_row_is_the_recipe_but_for_what_it_says(name: str) -> None:
    """All rows share the split and the length, and no two are the same."""
    _, configuration = record.ROWS[name]
    assert (configuration.split, configuration.epochs) == (record.RECORD.split, 6)
    assert sum(other == configuration for _, other in record.ROWS.values()) == 1
