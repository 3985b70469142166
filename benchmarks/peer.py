"""The peers' environments: each has its own, made once from pinned requirements, under .bench/."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.digits import ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.places import without_places

_ENVIRONMENTS = ROOT / ".bench"
_DEBIAN_PYTHON = Path("/usr/bin/python3.11")


@dataclass(frozen=True)
class Peer:
    """Another model server.

    Attributes:
        name: its folder under benchmarks/peers.
        title: as a reader knows it.
        command: after its environment's `bin/`.
        forms: the forms it is asked in, the one first that its figure in the chart has.
        debian: whether it needs a Python whose library can be linked with, as Debian's can: Triton's stub does.
    """

    name: str
    title: str
    command: tuple[str, ...]
    forms: tuple[str, ...]
    debian: bool = False

    @property
    def folder(self) -> Path:
        """Where its configuration and its requirements lie."""
        return ROOT / "benchmarks" / "peers" / self.name

    @property
    def environment(self) -> Path:
        """Its environment."""
        return _ENVIRONMENTS / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.environment / "bin" / "python"

    def install(self) -> None:
        """Makes the environment, unless it is there and as the requirements say.

        Raises:
            BenchmarkError: it cannot be made here.
        """
        requirements = self.folder / "requirements.txt"
        wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
        stamp = self.environment / ".installed"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        python = str(_DEBIAN_PYTHON) if self.debian else sys.executable
        _run([python, "-m", "venv", "--clear", str(self.environment)])
        pip = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run([*pip, "-r", str(requirements)])
        stamp.write_text(wanted)


def _run(command: list[str]) -> None:
    try:
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BenchmarkError(f"{error.filename} is missing") from error
    if told.returncode:
        lines = [line for line in (told.stderr or told.stdout).splitlines() if "error" in line.lower()]
        raise BenchmarkError(f"it does not install: {without_places(' | '.join(lines[-2:]))[:300]}")


OPENVINO = Peer("openvino", "OpenVINO", ("python",), ("raw",))
"""This service's own environment with OpenVINO beside ONNX Runtime."""

PEERS = (
    Peer(
        "fastapi_plain",
        "FastAPI, plain",
        ("uvicorn", "benchmarks.peers.fastapi_plain.serve:app", "--port", "{port}", "--no-access-log"),
        ("plain-upload", "plain-raw"),
    ),
    Peer("litserve", "LitServe", ("python", "-m", "benchmarks.peers.litserve.serve"), ("litserve",)),
    Peer("mlserver", "MLServer", ("mlserver", "start", "benchmarks/peers/mlserver"), ("oip-json",)),
    Peer(
        "bentoml",
        "BentoML",
        ("bentoml", "serve", "benchmarks.peers.bentoml.serve:Digits", "--host", "127.0.0.1", "--port", "{port}"),
        ("bentoml",),
    ),
    Peer(
        "pytriton",
        "PyTriton",
        ("python", "-m", "benchmarks.peers.pytriton.serve"),
        ("oip-binary",),
        debian=True,
    ),
)
