"""What a run learns from its teachers: distorted training digits, and what the teachers see in these very images.

L. Beyer, X. Zhai, A. Royer and others, "Knowledge distillation: a good teacher is patient and consistent"
(arXiv:2106.05237) show that teacher and student must see the same crop of an image. Here they see the same distortion;
a few views of each digit are made once and serve every seed, so that a step costs no more than one without teachers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from training.augment import Distortion, distort
from training.configuration import Teaching
from training.data import Digits, Images
from training.errors import CheckpointError
from training.model import CLASSES, lay_out, predict

_PART = 1000  # digits that are distorted at once


class Lessons:
    """Views of every training digit with the teachers' probabilities, from `folder` or made into it."""

    def __init__(
        self,
        training: Digits,
        teachers: Sequence[nn.Module],
        distortion: Distortion,
        views: int,
        folder: Path,
    ) -> None:
        """`teachers` are in eval mode; they are not asked where all views are there.

        Raises:
            CheckpointError: a view in `folder` is damaged, or of other digits.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._labels = training.labels
        self._images = np.empty((views, *training.images.shape), np.uint8)
        self._chances = np.empty((views, len(training), CLASSES), np.float32)
        for view in track(range(views), "asking the teachers"):
            path = _path(folder, view)
            if not path.exists():
                images = _distorted(training.images, distortion, view)
                partial = path.with_suffix(".partial")
                partial.write_bytes(save({"images": images, "chances": opinion(teachers, images)}))
                partial.replace(path)
            try:
                kept = load_file(path)
                self._images[view], self._chances[view] = kept["images"].numpy(), kept["chances"].numpy()
            except (SafetensorError, KeyError, ValueError) as error:
                raise CheckpointError(f"{path} is no such view; remove it to make it anew") from error

    def batch(self, places: NDArray[np.intp], epoch: int) -> tuple[Digits, NDArray[np.float32]]:
        """The digits of these places in an epoch's views, and what the teachers see in them, (n, 10).

        Each epoch shows another view of a digit, until all were seen.
        """
        view = (places + epoch) % len(self._images)
        return Digits(self._images[view, places], self._labels[places]), self._chances[view, places]


def made(folder: Path, views: int) -> bool:
    """Whether all views are there, so that no teacher has to be."""
    return all(_path(folder, view).exists() for view in range(views))


def opinion(teachers: Sequence[nn.Module], images: Tensor) -> Tensor:
    """The mean of the teachers' probabilities, float32 (n, 10), of images uint8 (n, 1, 28, 28).

    Teachers are laid out anew in memory, and the batches fit a processor's cache: both together are three times faster.
    """
    for teacher in teachers:
        lay_out(teacher, torch.channels_last)
    return torch.stack([predict(teacher, images, batch=100).softmax(1) for teacher in teachers]).mean(0)


def lesson_loss(logits: Tensor, labels: Tensor, chances: Tensor, teaching: Teaching) -> Tensor:
    """The loss in nats, a scalar, of logits (n, 10), labels int64 (n,) and the teachers' probabilities (n, 10).

    It is that of G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network"
    (arXiv:1503.02531): cross-entropy with the teachers' probabilities, both at the temperature `softness`, times its
    square, which keeps the gradients' size; and a share of the labels' own cross-entropy.
    """
    softened = (chances.clamp_min(torch.finfo(chances.dtype).tiny).log() / teaching.softness).softmax(1)
    taught = functional.cross_entropy(logits / teaching.softness, softened) * teaching.softness**2
    return teaching.share * taught + (1 - teaching.share) * functional.cross_entropy(logits, labels)


def _path(folder: Path, view: int) -> Path:
    return folder / f"view-{view:03}.safetensors"


def _distorted(images: Images, distortion: Distortion, view: int) -> Tensor:
    """One view of all digits, uint8 (n, 1, 28, 28): the same for the same number, whatever was made before."""
    parts = []
    for number, part in enumerate(torch.split(torch.from_numpy(images), _PART)):
        seed = int(np.random.SeedSequence([view, number]).generate_state(1)[0])
        changed = distort(part.float(), distortion, torch.Generator().manual_seed(seed))
        parts.append(changed.round().to(torch.uint8))
    return torch.cat(parts)
