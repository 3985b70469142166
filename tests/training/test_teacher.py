"""The teachers' network: its size, and that it normalises as the served one does."""

import torch
from torch import nn

from training.teacher import TeacherNet


def test_the_teacher_has_the_size_it_claims() -> None:
    """Parameters counted by hand, logits for each image, and the multiply-adds of its layers as seen in a run."""
    teacher = TeacherNet(33.3, 78.6).eval()
    kernels = 25 * 24 + 9 * (24 * 48 + 48 * 48 + 48 * 96 + 96 * 96)
    norms = 2 * (24 + 48 + 48 + 96 + 96)
    assert sum(p.numel() for p in teacher.parameters()) == kernels + norms + 96 * 49 * 10 + 10 == 203_794
    counts: list[int] = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        weights = next(layer.parameters())
        counts.append(weights[0].numel() * output[0].numel())

    for layer in teacher.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    assert teacher(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(counts) == 12_710_208


def test_the_teacher_normalises_by_itself() -> None:
    """Grey levels that differ as mean and standard deviation do give the same logits."""
    torch.manual_seed(0)
    one = TeacherNet(0, 1).eval()
    other = TeacherNet(30, 80).eval()
    other.load_state_dict(one.state_dict())
    images = torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(other(images * 80 + 30), one(images), rtol=1e-4, atol=1e-4)
