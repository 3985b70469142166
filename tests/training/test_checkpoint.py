"""Checkpoints written and read."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.errors import CheckpointError


def test_a_checkpoint_survives(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Every tensor bit for bit, normalisation, configuration, temperature and figures come back, in eval mode."""
    path = tmp_path / "some.safetensors"
    save_checkpoint(checkpoint, path)
    assert list(tmp_path.iterdir()) == [path]
    loaded = load_checkpoint(path)
    saved = checkpoint.network.state_dict()
    assert loaded.network.state_dict().keys() == saved.keys()
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, saved[name])
    assert (loaded.network.mean, loaded.network.std) == (33.3, 78.6)
    assert not loaded.network.training
    for field in dataclasses.fields(Checkpoint):
        if field.name != "network":
            assert getattr(loaded, field.name) == getattr(checkpoint, field.name)


def test_a_checkpoint_that_cannot_be_written_is_an_os_error(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The command tells it in one sentence by the file's name and the system's words, and the old one stays."""
    path = tmp_path / "some.safetensors"
    save_checkpoint(checkpoint, path)
    before = path.read_bytes()
    partial = tmp_path / "some.safetensors.partial"
    partial.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        save_checkpoint(checkpoint, path)
    assert (caught.value.filename, caught.value.strerror) == (str(partial), "Is a directory")
    assert path.read_bytes() == before


def test_a_file_that_is_damaged_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Missing, empty, cut at several places, or something else: one sentence names the file."""
    path = tmp_path / "some.safetensors"
    with pytest.raises(CheckpointError, match=f"^{path} is no checkpoint of this network: [^\n]*$"):
        load_checkpoint(path)
    save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    for damaged in (b"", content[:6], content[:300], content[:-1], b"\x80\x04pickle" * 9):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"^{path} is no checkpoint of this network: [^\n]*$"):
            load_checkpoint(path)


@pytest.mark.parametrize("fault", ["shape", "lacking", "surplus", "no metadata", "configuration", "facts"])
def test_a_file_of_another_network_is_refused(checkpoint: Checkpoint, tmp_path: Path, fault: str) -> None:
    """A tensor of another shape, one too few or too many, or metadata that lacks or says something else."""
    path = tmp_path / "some.safetensors"
    save_checkpoint(checkpoint, path)
    tensors = load_file(path)
    metadata: dict[str, str] | None = {
        "configuration": checkpoint.configuration.to_json(),
        "facts": json.dumps({"mean": 1, "std": 1, "temperature": 1, "digits": 1, "metrics": {}, "data": {}}),
    }
    save_file(tensors, path, metadata)
    load_checkpoint(path)  # the file as made here is one that loads
    if fault == "shape":
        tensors["fc2.bias"] = torch.zeros(11)
    elif fault == "lacking":
        del tensors["norm1.running_var"]
    elif fault == "surplus":
        tensors["fc3.bias"] = torch.zeros(10)
    elif fault == "no metadata":
        metadata = None
    else:
        assert metadata is not None
        metadata[fault] = "{}"
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=f"^{path} is no checkpoint of this network: [^\n]+$"):
        load_checkpoint(path)
