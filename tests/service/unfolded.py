"""The network as it was trained, to compare with what is served."""

from pathlib import Path

import torch

from training.checkpoint import load_checkpoint
from training.model import DigitNet


def unfolded_network(folder: Path) -> DigitNet:
    """That of a version's folder, BatchNorm and all, in float64; its temperature in the last layer."""
    checkpoint = load_checkpoint(folder / "checkpoint.safetensors")
    network = checkpoint.network.double()
    with torch.no_grad():
        network.fc2.weight.div_(checkpoint.temperature)
        network.fc2.bias.div_(checkpoint.temperature)
    return network.requires_grad_(False)
