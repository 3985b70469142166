"""A trained network with all that is needed to export it, as one safetensors file (never a pickle)."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from training.configuration import Configuration
from training.errors import CheckpointError
from training.model import DigitNet


@dataclass(frozen=True)
class Checkpoint:
    """The network in eval mode, before folding and before its logits are divided by `temperature`."""

    network: DigitNet
    configuration: Configuration
    temperature: float
    digits: int  # trained on
    metrics: dict[str, float]  # on validation
    data: dict[str, str]  # SHA-256 of each file trained on


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the checkpoint in one step.

    Raises:
        OSError: the file cannot be written.
    """
    network = checkpoint.network
    metadata = {
        "configuration": checkpoint.configuration.to_json(),
        "facts": json.dumps(
            {
                "mean": network.mean,
                "std": network.std,
                "temperature": checkpoint.temperature,
                "digits": checkpoint.digits,
                "metrics": checkpoint.metrics,
                "data": checkpoint.data,
            }
        ),
    }
    partial = path.with_name(f"{path.name}.partial")
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    partial.write_bytes(save(tensors, metadata))  # not save_file, whose errors are no OSError
    partial.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; its network is on the CPU, in float32 and in eval mode.

    Raises:
        CheckpointError: the file is missing, damaged, or of another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        configuration = Configuration.from_json(metadata["configuration"])
        facts = json.loads(metadata["facts"])
        network = DigitNet(facts["mean"], facts["std"], configuration.dropout)
        network.load_state_dict(load_file(path))
        return Checkpoint(
            network.eval(),
            configuration,
            temperature=facts["temperature"],
            digits=facts["digits"],
            metrics=facts["metrics"],
            data=facts["data"],
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of this network: {str(error).splitlines()[0]}") from error
