"""The teachers of a run, trained once for all seeds that share their split, and what they say of its digits."""

import dataclasses
import hashlib
from pathlib import Path

import torch

from training.configuration import Configuration, Teaching
from training.data import Digits
from training.errors import TrainingError
from training.fit import train
from training.lesson import Lessons, made
from training.teacher import TeacherNet

_FIRST_SEED = 100  # of a teacher: that of no run which anybody compares


def teacher_configuration(configuration: Configuration, teaching: Teaching, number: int) -> Configuration:
    """That of a teacher by its number from 0: nothing of it depends on the seed of the run it teaches."""
    return dataclasses.replace(
        configuration,
        seed=_FIRST_SEED + number,
        split=configuration.split_seed,
        epochs=teaching.epochs,
        weight_decay=teaching.weight_decay,
        dropout=teaching.dropout,
        label_smoothing=0.0,  # which would hide how alike a teacher finds two digits
        teaching=None,
    )


def teach(
    training: Digits, validation: Digits, configuration: Configuration, runs: Path, device: torch.device
) -> Lessons | None:
    """The lessons of a configuration, from folders under `runs` or made into them; None where it has no teachers.

    Raises:
        TrainingError: the configuration asks for corrupted digits or non-digits too, of which lessons know nothing.
        KeyboardInterrupt: Ctrl-C while a teacher was trained; the same call goes on from there.
        CheckpointError: a folder holds something damaged.
    """
    teaching = configuration.teaching
    if teaching is None:
        return None
    if configuration.corrupted or configuration.non_digits:
        raise TrainingError("a recipe with teachers takes neither corrupted digits nor non-digits")
    teachers = [teacher_configuration(configuration, teaching, number) for number in range(teaching.teachers)]
    texts = [teacher.to_json() for teacher in teachers]
    folder = runs / f"lessons-{_digest(''.join(texts))}"
    networks = []
    if not made(folder, teaching.views):
        networks = [
            train(TeacherNet, training, validation, teacher, runs / f"teacher-{_digest(text)}", device).to(device)
            for teacher, text in zip(teachers, texts, strict=True)
        ]
    return Lessons(training, networks, configuration.distortion, teaching.views, folder)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
