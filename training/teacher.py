"""The larger network that only training sees: it reads better than the one that is served, and teaches it."""

from itertools import pairwise

from torch import Tensor, nn

from training.model import CLASSES, SIZE

_CHANNELS = (24, 48, 48, 96, 96)
_POOLED = {0, 2}  # the convolutions that are followed by pooling


class TeacherNet(nn.Module):
    """Five convolutions, two poolings and one linear layer: 203,794 parameters, 12.7 million multiply-adds an image.

    `mean` and `std` are those of the training pixels, in grey levels 0–255.
    """

    def __init__(self, mean: float, std: float, dropout: float = 0.5) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(pairwise((1, *_CHANNELS))):
            kernel = 3 if number else 5
            layers.append(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False))  # BatchNorm has one
            if number in _POOLED:
                layers.append(nn.MaxPool2d(2))  # before what follows, which then has a quarter of the work
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
        flat = _CHANNELS[-1] * (SIZE // 2 ** len(_POOLED)) ** 2
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 10) of images (n, 1, 28, 28) in grey levels 0–255, of the parameters' dtype."""
        logits: Tensor = self.layers((images - self.mean) / self.std)
        return logits
