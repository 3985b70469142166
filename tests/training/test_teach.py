"""Teaching a run: whose teachers they are, that they are trained once, and that a taught run repeats itself."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.test_fit import interrupted_run, run, same
from training.configuration import Configuration, Teaching
from training.data import Digits
from training.errors import TrainingError
from training.fit import fit
from training.lesson import Lessons
from training.model import DigitNet
from training.recipe import RECIPES
from training.teach import teach, teacher_configuration
from training.teacher import TeacherNet

CPU = torch.device("cpu")
REFUSED = r"^a recipe with teachers takes neither corrupted digits nor non-digits$"
TEACHING = Teaching(teachers=2, epochs=1, views=2)
TAUGHT = Configuration(seed=5, split=0, epochs=3, batch=16, label_smoothing=0.1, teaching=TEACHING)


def lessons_of(digits: Digits, runs: Path, configuration: Configuration = TAUGHT) -> Lessons:
    """The lessons of 40 digits."""
    lessons = teach(digits.take(slice(40)), digits.take(slice(40, 60)), configuration, runs, CPU)
    assert lessons is not None
    return lessons


def taught(digits: Digits, lessons: Lessons, folder: Path, configuration: Configuration = TAUGHT) -> DigitNet:
    """A taught run on 40 digits."""
    return fit(digits.take(slice(40)), digits.take(slice(40, 60)), configuration, folder, CPU, lessons)


def test_a_teacher_is_trained_as_the_run_but_by_its_own_values() -> None:
    """With the run's split and distortions, no teachers of its own, sharp labels, and a seed that is not the run's."""
    teacher = teacher_configuration(TAUGHT, dataclasses.replace(TEACHING, epochs=7), 1)
    assert teacher == Configuration(
        seed=101, split=0, epochs=7, batch=16, weight_decay=5e-4, dropout=0.5, distortion=TAUGHT.distortion
    )
    own_split = dataclasses.replace(TAUGHT, split=None)
    assert teacher_configuration(own_split, TEACHING, 0).split_seed == 5


def test_seeds_of_one_split_share_their_teachers(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second seed trains none and asks none; another split has teachers of its own."""
    lessons_of(digits, tmp_path)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["lessons", "teacher", "teacher"]
    with monkeypatch.context() as patched:
        patched.setattr("training.teach.train", lambda *_: pytest.fail("a teacher was trained"))
        lessons_of(digits, tmp_path, dataclasses.replace(TAUGHT, seed=6, epochs=9, dropout=0.1))
        for other in (dataclasses.replace(TAUGHT, split=1), dataclasses.replace(TAUGHT, split=None)):
            with pytest.raises(pytest.fail.Exception, match="a teacher was trained"):
                lessons_of(digits, tmp_path, other)


def test_without_teachers_there_are_no_lessons(digits: Digits, tmp_path: Path) -> None:
    """Nothing is made; and what lessons know nothing of is refused in one sentence."""
    some = digits.take(slice(20))
    assert teach(some, some, dataclasses.replace(TAUGHT, teaching=None), tmp_path, CPU) is None
    for mixed in ({"corrupted": 0.1}, {"non_digits": 0.1}):
        with pytest.raises(TrainingError, match=REFUSED):
            teach(some, some, dataclasses.replace(TAUGHT, **mixed), tmp_path, CPU)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_teachers_without_lessons_are_refused(digits: Digits, tmp_path: Path) -> None:
    """Nor does a run without teachers take any: it would learn what its configuration does not tell of."""
    some = digits.take(slice(20))
    lessons = Lessons(some, [TeacherNet(33.3, 78.6).eval()], TAUGHT.distortion, 1, tmp_path / "lessons")
    for configuration, given in ((TAUGHT, None), (dataclasses.replace(TAUGHT, teaching=None), lessons)):
        with pytest.raises(ValueError, match=r"^a configuration with teachers needs their lessons"):
            fit(some, some, configuration, tmp_path / "run", CPU, given)


@pytest.mark.parametrize("record", [1, 4, 11])
def test_a_taught_run_goes_on_to_the_same_weights(digits: Digits, tmp_path: Path, record: int) -> None:
    """Interrupted within, at the end of and between epochs: bit for bit, with lessons that were read anew."""
    whole = taught(digits, lessons_of(digits, tmp_path), tmp_path / "whole")
    lessons = lessons_of(digits, tmp_path)

    def again(digits: Digits, folder: Path) -> DigitNet:
        return taught(digits, lessons, folder)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.training.test_fit.run", again)
        interrupted_run(digits, tmp_path / "cut", call=record)
    assert same(again(digits, tmp_path / "cut"), whole)
    labels_alone = dataclasses.replace(TAUGHT, teaching=None)
    assert not same(run(digits, tmp_path / "untaught", labels_alone), whole)
    other_seed = dataclasses.replace(TAUGHT, seed=6)
    assert not same(taught(digits, lessons, tmp_path / "other", other_seed), whole)


def test_an_interrupted_teacher_goes_on_to_the_same_lessons(digits: Digits, tmp_path: Path) -> None:
    """Ctrl-C while the second teacher is trained: the same call ends with the lessons of an uninterrupted one."""
    whole = lessons_of(digits, tmp_path / "whole")

    def again(digits: Digits, folder: Path) -> Lessons:
        return lessons_of(digits, folder)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.training.test_fit.run", again)
        interrupted_run(digits, tmp_path / "cut", call=6)
    cut = lessons_of(digits, tmp_path / "cut")
    places = np.arange(40)
    for epoch in range(TEACHING.views):
        np.testing.assert_array_equal(cut.batch(places, epoch)[1], whole.batch(places, epoch)[1])


def test_the_record_recipe_shares_one_split_and_adds_nothing_that_lessons_refuse() -> None:
    """All its seeds have the same teachers, and only MNIST's digits are in it."""
    record = RECIPES["record"]
    assert record.split == 0 and record.teaching is not None
    assert not record.corrupted and not record.non_digits
    texts = {
        teacher_configuration(dataclasses.replace(record, seed=seed), record.teaching, 0).to_json() for seed in range(5)
    }
    assert len(texts) == 1
