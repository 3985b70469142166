"""Clients that others wrote, unmodified, against the service: what they read is what plain ONNX Runtime says.

Each runs in an environment of its own, which `.ci/run` makes. What a script printed is kept in `transcripts/`, and is
written anew by `TRANSCRIPTS=write .venv/bin/python -m pytest -m clients tests/clients`.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from service.protocol.grpc import inference_pb2 as pb
from tests.conftest import Mnist
from tests.service.keyed import KEYS, LINES
from tests.service.protocol.grpc.calling import free_port
from tests.service.serving import ROOT, VERSION, process

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv-clients"
TRANSCRIPTS = HERE / "transcripts"
IMAGE = "python:3.13-slim-trixie"
_MAPS = {"conv1": (8, 28, 28), "fc1_relu": (600,)}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, mnist: Mnist, model_bytes: bytes) -> Iterator[dict[str, str]]:
    """A running service, and digits with what ONNX Runtime alone makes of them, as a script's variables."""
    folder = tmp_path_factory.mktemp("clients")
    model = onnx.load_from_string(model_bytes)
    for name, shape in _MAPS.items():
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("batch", *shape)))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    images = mnist.images[:257, None]
    expected = dict(zip(names, session.run(names, {"image": images}), strict=True))
    assert (expected["probabilities"].argmax(axis=1) == mnist.labels[:257]).mean() > 0.95
    np.savez(folder / "digits.npz", images=images, **expected)
    port = free_port()
    with process(folder / "log", "--provider", "cpu", "--repository-api", "--grpc-port", str(port)) as running:
        yield {
            "HTTP": f"127.0.0.1:{running.port}",
            "GRPC": f"127.0.0.1:{port}",
            "VERSION": VERSION,
            "DIGITS": str(folder / "digits.npz"),
        }


def _run(command: list[str], variables: dict[str, str]) -> bytes:
    ran = subprocess.run(  # noqa: S603 — our own scripts
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, timeout=600, check=False
    )
    assert ran.returncode == 0, f"{ran.stdout.decode()}\n{ran.stderr.decode()}"
    return ran.stdout


def _script(client: str, name: str, variables: dict[str, str]) -> bytes:
    python = ENVIRONMENTS / client / "bin" / "python"
    assert python.exists(), f"there is no environment for {client}: .ci/run makes it"
    return _run([str(python), "-m", f"tests.clients.{name}"], variables)


def _transcript(name: str, text: str) -> str:
    """What is kept of a run, after it was written anew where that is asked for."""
    path = TRANSCRIPTS / f"{name}.txt"
    if os.environ.get("TRANSCRIPTS") == "write":
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("client", "name"), [("triton", "triton_http"), ("triton", "triton_grpc"), ("kserve", "kserve_client")]
)
def test_a_client_reads_what_onnx_runtime_says(given: dict[str, str], client: str, name: str) -> None:
    """Its script compares every value that it is answered, and ends as its transcript does."""
    text = _script(client, name, given).decode()
    assert text == _transcript(name, text)


def test_tritonclient_asks_with_a_key(given: dict[str, str], tmp_path: Path) -> None:
    """By the headers that its calls take, over HTTP and gRPC: what the key is for is answered, the rest refused."""
    port = free_port()
    flags = ("--provider", "cpu", "--grpc-port", str(port))
    with process(tmp_path / "log", *flags, DIGITSCOPE_API_KEYS=LINES) as running:
        own = {"HTTP": f"127.0.0.1:{running.port}", "GRPC": f"127.0.0.1:{port}", "KEY": KEYS["predict"]}
        text = _script("triton", "triton_keys", given | own).decode()
    assert text == _transcript("triton_keys", text)


_RUN = re.compile(r"^Concurrency: \d+, throughput: ([\d.]+) infer/sec, latency (\d+) usec$", re.MULTILINE)
_RATE = re.compile(r"^Request Rate: [\d.]+, throughput: ([\d.]+) infer/sec, latency (\d+) usec$", re.MULTILINE)


def test_perf_analyzer_measures_the_service(given: dict[str, str]) -> None:
    """Over HTTP and over gRPC, in streams, batches and at a fixed rate, with the statistics that the service keeps."""
    wheels = ENVIRONMENTS / "perf"
    assert wheels.exists(), "there is no wheel of perf_analyzer: .ci/run fetches it"
    variables = [f"--env={name}={given[name]}" for name in ("HTTP", "GRPC")]
    mounts = [f"--volume={wheels}:/wheels:ro", f"--volume={HERE / 'perf.sh'}:/perf.sh:ro"]
    docker = ["docker", "run", "--rm", "--network=host"]
    text = _run([*docker, *variables, *mounts, IMAGE, "sh", "/perf.sh"], {}).decode()
    text = text.replace(given["HTTP"], "127.0.0.1:8000").replace(given["GRPC"], "127.0.0.1:8001")  # ports of chance
    measured = [*_RUN.findall(text), *_RATE.findall(text)]
    assert len(measured) == 7 and all(float(rate) > 50 for rate, _ in measured)
    assert text.count("Avg request latency: ") == 7  # by the server's own statistics
    assert text.count("Failed") == 0
    kept = _transcript("perf_analyzer", text)
    assert len(_RUN.findall(kept)) == 6 and len(_RATE.findall(kept)) == 1


def _messages(messages: Any, prefix: str = "") -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        yield prefix + message.name, message
        yield from _messages(message.nested_type, f"{prefix}{message.name}.")


def _enums(file: FileDescriptorProto) -> Iterator[tuple[str, EnumDescriptorProto]]:
    for enum in file.enum_type:
        yield enum.name, enum
    for name, message in _messages(file.message_type):
        for enum in message.enum_type:
            yield f"{name}.{enum.name}", enum


def _fields(message: DescriptorProto) -> dict[str, Any]:
    """All that the wire and a client's code know of a message's fields."""

    def told(field: FieldDescriptorProto) -> Any:
        choice = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
        return field.number, field.type, field.label, field.type_name, field.json_name, choice

    return {field.name: told(field) for field in message.field}


def test_messages_are_those_of_triton() -> None:
    """Field by field: number, type, label and choice; requests and statistics whole, and every method's signature."""
    theirs = FileDescriptorSet.FromString(_script("triton", "describe_triton", {}))
    ours = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(ours)
    assert {file.package for file in theirs.file} == {ours.package} == {"inference"}
    messages = dict(pair for file in theirs.file for pair in _messages(file.message_type))
    compared = 0
    for name, message in _messages(ours.message_type):
        expected, found = _fields(messages[name]), _fields(message)
        assert found.items() <= expected.items(), name
        assert message.options.map_entry == messages[name].options.map_entry
        partly = {"ModelConfig", "ModelInput", "ModelOutput", "ModelDynamicBatching", "ModelVersionPolicy"}
        assert found == expected or name in partly, f"{name} lacks {expected.keys() - found.keys()}"
        compared += len(found)
    assert compared > 130
    enums = dict(pair for file in theirs.file for pair in _enums(file))
    for name, enum in _enums(ours):
        expected = {value.name: value.number for value in enums[name].value}
        assert {value.name: value.number for value in enum.value}.items() <= expected.items()
    (service,) = (service for file in theirs.file for service in file.service)
    assert service.name == ours.service[0].name

    def signatures(service: Any) -> dict[str, Any]:
        return {
            method.name: (method.input_type, method.output_type, method.client_streaming, method.server_streaming)
            for method in service.method
        }

    assert signatures(ours.service[0]).items() <= signatures(service).items()
