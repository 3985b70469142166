"""The comparison of recipes: what its seconds are of. Nothing is timed here."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.recipes import Epoch, Run, epochs_of, train_plain, write_table
from training.data import Digits


def test_an_epoch_has_the_seconds_of_all_steps_before_it() -> None:
    """Steps add up over epochs, and the lines of epochs add nothing."""
    journal = [
        {"step": 1, "seconds": 0.5},
        {"step": 2, "seconds": 0.25},
        {"step": 2, "epoch": 1, "accuracy": 0.9},
        {"step": 3, "seconds": 2.0},
        {"step": 3, "epoch": 2, "accuracy": 0.95},
    ]
    assert epochs_of(journal) == [Epoch(0.75, 0.9), Epoch(2.75, 0.95)]


def test_the_first_epoch_that_reaches_it_counts() -> None:
    """A later fall does not take it back; an accuracy that is never reached has no seconds, and the table says so."""
    run = Run("fast", 0, [Epoch(1, 0.99), Epoch(2, 0.994), Epoch(3, 0.993)])
    assert (run.reached(0.994), run.reached(0.995)) == (2, None)
    table = write_table([run, Run("plain", 0, [Epoch(9, 0.99)])], {"machine": "one"})
    assert "| 3 | 2 | 99.40% | 99.30% |" in table and "| 9 | not reached | 99.00% | 99.00% |" in table
    assert "reached by 1 of 1 runs, in 2 (2–2) s" in table and "reached by 0 of 1 runs\n" in table


def test_the_plain_recipe_learns() -> None:
    """Two kinds of bars are told apart after some epochs, and the seconds rise from epoch to epoch."""
    images = np.zeros((128, 1, 28, 28), np.uint8)
    images[::2, :, 4:24, 12:16], images[1::2, :, 12:16, 4:24] = 255, 255
    bars = Digits(images, np.arange(128, dtype=np.uint8) % 2)
    epochs = train_plain(bars, bars, seed=0, epochs=8)
    assert epochs[-1].accuracy == pytest.approx(1)
    assert all(one.seconds < other.seconds for one, other in pairwise(epochs))
