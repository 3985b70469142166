"""What the scripts of this folder share: real digits, what plain ONNX Runtime says of them, and how a run is told.

The scripts run in the environments of the clients, where nothing of ours is installed: this needs NumPy alone.
"""

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Task:
    """What a script is given.

    Attributes:
        http, grpc: where the service is, host and port.
        version: of the model that it serves.
        images: MNIST's test digits, uint8 (n, 1, 28, 28).
        expected: the outputs that ONNX Runtime alone gives for them, by name, float32 (n, …).
    """

    http: str
    grpc: str
    version: str
    images: NDArray[np.uint8]
    expected: dict[str, NDArray[np.float32]]


def task() -> Task:
    """The task of the environment's variables; of no flags, since kserve reads all flags for itself."""
    with np.load(os.environ["DIGITS"]) as arrays:
        expected = {name: arrays[name] for name in arrays.files if name != "images"}
        return Task(os.environ["HTTP"], os.environ["GRPC"], os.environ["VERSION"], arrays["images"], expected)


def begin(package: str, which: str) -> None:
    """Tells which client it is."""
    print(f"# {package} {version(package)}, {which}")  # noqa: T201 — this is the transcript


def say(what: str, *values: object) -> None:
    """Tells a step."""
    print(f"{what}:", *values)  # noqa: T201 — this is the transcript


def agree(what: str, task: Task, found: dict[str, Any], first: int = 0) -> None:
    """Compares outputs for digits from the first one on with what is expected, and tells so.

    Raises:
        AssertionError: they are others.
    """
    for name, values in found.items():
        expected = task.expected[name][first : first + len(values)]
        assert values.dtype == np.float32 and values.shape == expected.shape, (values.dtype, values.shape)
        assert np.abs(values - expected).max() < TOLERANCE, f"{name} is off by {np.abs(values - expected).max()}"
    told = []
    if "probabilities" in found:
        read = found["probabilities"].argmax(axis=1)
        assert (read == task.expected["probabilities"][first : first + len(read)].argmax(axis=1)).all()
        told = ["digits", *read[:8].tolist(), *(["…"] if len(read) > 8 else [])]
    say(what, ", ".join(f"{name} {list(values.shape)}" for name, values in found.items()), "as expected", *told)


def refused(what: str, error: type[Exception], call: Any) -> Exception:
    """What a call that is to be refused raised.

    Raises:
        AssertionError: it was not refused.
    """
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"{what} was not refused")
