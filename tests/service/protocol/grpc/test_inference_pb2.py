"""The compiled messages."""

import subprocess
import sys
from pathlib import Path

from service.protocol import grpc as package
from service.protocol.grpc import inference_pb2 as pb
from service.protocol.grpc.methods import METHODS
from tests.service.serving import ROOT

FOLDER = Path(package.__file__).parent.relative_to(ROOT)


def test_the_file_is_what_its_source_compiles_to(tmp_path: Path) -> None:
    """Nobody edited the compiled file, and nobody forgot `make proto`."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", f"--python_out={tmp_path}"]
    subprocess.run([*command, str(FOLDER / "inference.proto")], cwd=ROOT, check=True)  # noqa: S603
    compiled = (tmp_path / FOLDER / "inference_pb2.py").read_text()
    assert (ROOT / FOLDER / "inference_pb2.py").read_text() == compiled


def test_every_method_is_answered() -> None:
    """The service of the source, the functions and the names that are counted are the same."""
    names = [method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]
    assert list(METHODS) == names == list(package.METHODS)
