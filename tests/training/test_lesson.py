"""Lessons: the views, what the teachers say of them, and the loss by which a run learns from that."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn

from training.augment import Distortion
from training.configuration import Teaching
from training.data import Digits
from training.errors import CheckpointError
from training.lesson import Lessons, lesson_loss, made, opinion
from training.teacher import TeacherNet

STILL = Distortion(rotation=0, scale=0, shear=0, shift=0, elastic=0)


def teachers(count: int) -> list[TeacherNet]:
    """Teachers with random weights."""
    torch.manual_seed(1)
    return [TeacherNet(33.3, 78.6).eval() for _ in range(count)]


class Silent(nn.Module):
    """A teacher that must not be asked."""

    def forward(self, _: Tensor) -> Tensor:
        """Fails."""
        pytest.fail("a teacher was asked")


@pytest.mark.parametrize("softness", [1.0, 2.5])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_hinton_s(softness: float, share: float) -> None:
    """Equal to NumPy's from softened teachers' logits; of its gradient the teachers' part keeps its size."""
    generator = np.random.default_rng(0)
    logits, taught, labels = generator.normal(0, 3, (20, 10)), generator.normal(0, 3, (20, 10)), np.arange(20) % 10
    wanted = special.softmax(taught / softness, axis=1)
    soft = -(wanted * special.log_softmax(logits / softness, axis=1)).sum(axis=1).mean() * softness**2
    hard = -special.log_softmax(logits, axis=1)[range(20), labels].mean()
    chances = torch.tensor(special.softmax(taught, axis=1))
    student = torch.tensor(logits, requires_grad=True)
    loss = lesson_loss(student, torch.tensor(labels), chances, Teaching(share=share, softness=softness))
    assert loss.item() == pytest.approx(share * soft + (1 - share) * hard)
    torch.autograd.backward(loss)
    slope = share * softness * (special.softmax(logits / softness, axis=1) - wanted) / 20
    slope += (1 - share) * (special.softmax(logits, axis=1) - np.eye(10)[labels]) / 20
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), slope, atol=1e-12)


def test_a_teacher_s_certainty_is_no_infinity() -> None:
    """Probabilities that are 0 in float32 leave loss and gradient finite."""
    logits = torch.zeros(1, 10, requires_grad=True)
    chances = torch.eye(10)[:1]
    loss = lesson_loss(logits, torch.tensor([0]), chances, Teaching(softness=4.0))
    torch.autograd.backward(loss)
    assert torch.isfinite(loss) and logits.grad is not None and logits.grad.isfinite().all()


def test_the_opinion_is_the_mean_of_probabilities(digits: Digits) -> None:
    """Not of logits, and over all images, batch by batch."""
    images, asked = digits.images[:1100], teachers(3)
    with torch.no_grad():
        logits = np.stack([teacher(torch.tensor(images).float()).double().numpy() for teacher in asked])
    expected = special.softmax(logits, axis=2).mean(axis=0)
    np.testing.assert_allclose(opinion(asked, torch.from_numpy(images)).numpy(), expected, rtol=1e-3, atol=1e-6)


def test_a_batch_is_of_the_digits_asked_for(digits: Digits, tmp_path: Path) -> None:
    """Without distortion every view is the digit itself, with its label and the teachers' opinion of it."""
    some, asked = digits.take(slice(30)), teachers(2)
    lessons = Lessons(some, asked, STILL, 3, tmp_path)
    places = np.array([7, 3, 28])
    batch, chances = lessons.batch(places, 1)
    np.testing.assert_array_equal(batch.images, some.images[places])
    np.testing.assert_array_equal(batch.labels, some.labels[places])
    np.testing.assert_allclose(chances, opinion(asked, torch.tensor(some.images[places])).numpy(), atol=1e-6)


def test_the_opinion_is_of_the_very_image(digits: Digits, tmp_path: Path) -> None:
    """The probabilities beside a distorted image are those of this image; each epoch shows another until all were."""
    some, asked = digits.take(slice(1010)), teachers(1)  # more than are distorted at once
    lessons = Lessons(some, asked, Distortion(), 3, tmp_path)
    places = np.array([0, 500, 1009])
    epochs = [lessons.batch(places, epoch) for epoch in range(4)]
    for batch, chances in epochs:
        np.testing.assert_allclose(chances, opinion(asked, torch.from_numpy(batch.images)).numpy(), atol=1e-6)
        assert not np.array_equal(batch.images, some.images[places])
    images = [batch.images for batch, _ in epochs]
    np.testing.assert_array_equal(images[3], images[0])
    for place in range(3):
        assert len({images[epoch][place].tobytes() for epoch in range(3)}) == 3


def test_views_are_made_once_and_more_of_them_change_none(digits: Digits, tmp_path: Path) -> None:
    """What lies in the folder is taken as it is and no teacher is asked again; a view does not depend on the others."""
    some = digits.take(slice(40))
    places = np.arange(40)
    first = Lessons(some, teachers(1), Distortion(), 2, tmp_path)
    assert made(tmp_path, 2) and not made(tmp_path, 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = Lessons(some, [Silent()], Distortion(), 2, tmp_path)
    np.testing.assert_array_equal(again.batch(places, 0)[0].images, first.batch(places, 0)[0].images)
    np.testing.assert_array_equal(again.batch(places, 0)[1], first.batch(places, 0)[1])
    Lessons(some, teachers(1), Distortion(), 3, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    (tmp_path / "view-000.safetensors").unlink()
    Lessons(some, teachers(1), Distortion(), 1, tmp_path)
    assert (tmp_path / "view-000.safetensors").read_bytes() == before["view-000.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "other digits"])
def test_a_damaged_view_is_refused(digits: Digits, tmp_path: Path, damage: str) -> None:
    """One sentence names the file."""
    Lessons(digits.take(slice(20)), teachers(1), STILL, 1, tmp_path)
    path = tmp_path / "view-000.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=f"^{path} is no such view; remove it to make it anew$"):
        Lessons(digits.take(slice(20 if damage == "cut" else 21)), [Silent()], STILL, 1, tmp_path)
