"""A version is tried in a process that may end or grow within limits, and costs those that serve nothing."""

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from benchmarks.candidates import Candidates
from service import trial
from service.control import _told
from service.settings import Settings


def verdict(models: Path) -> str:
    """What a trial of version 1 says."""
    running = trial.Trial(Settings(models=models, provider="cpu"), "1")
    while (said := running.hear()) is None:
        pass
    return said


def test_good_and_broken_ones_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said of a good one, and of the other the reason, without a path.

    What the service's own environment says is nothing to a trial.
    """
    monkeypatch.setenv("DIGITSCOPE_WATCH", "true")  # which contradicts a version that is named
    monkeypatch.setenv("DIGITSCOPE_PROVIDER", "cuda")
    candidates = Candidates(tmp_path, 1)
    candidates.make(1)
    assert verdict(tmp_path) == ""
    candidates.make(1, "flipped byte")
    said = verdict(tmp_path)
    assert said.startswith("1/model.onnx has SHA-256 ") and str(tmp_path) not in said


def test_what_takes_gigabytes_is_refused(tmp_path: Path) -> None:
    """A few bytes that make a convolution pad its input by thousands of pixels are in no list of operators."""
    folder = Candidates(tmp_path, 1).make(1)
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        for attribute in node.attribute:
            if (node.output[0], attribute.name) == ("conv1", "pads"):
                attribute.ints[:] = [6000] * 4  # so that it gives 8×12026×12026
            elif (node.output[0], attribute.name) == ("pool1", "strides"):
                attribute.ints[:] = [924] * 2  # and 14×14 are left of it, as before
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    described = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(described | {"sha256": hashlib.sha256(content).hexdigest()}))
    assert verdict(tmp_path) == "the model does not answer its golden inputs"


def test_what_it_logs_is_no_verdict(tmp_path: Path) -> None:
    """The choice of a runtime, for one: a good version is good nevertheless, and is tried by what will serve it."""
    settings = Settings(models=tmp_path, provider="cpu", runtime="onnxruntime")
    logging = (
        "import structlog, service.trial as trial\n"
        "def open_version(settings, version):\n"
        "    structlog.get_logger('digitscope').info('runtimes compared', runtime=settings.runtime)\n"
        "trial.open_version = open_version\n"
        "raise SystemExit(trial._main())"
    )
    ran = subprocess.run(  # noqa: S603 — our own code
        [sys.executable, "-c", logging], input=trial.order(settings, "1"), capture_output=True, check=False
    )
    assert trial.verdict(ran.stdout, ran.returncode) == ""
    assert b"runtimes compared" in ran.stderr and b"onnxruntime" in ran.stderr


@pytest.mark.parametrize(
    ("output", "status", "said"),
    [
        (b"", 0, ""),
        (b"because\n", 0, "because"),
        (b"", -11, "opening it ended the process that tried it, by signal 11"),
        (b"half a", 1, "it could not be tried: the log has the cause"),
    ],
)
def test_how_it_ends_is_what_it_says(output: bytes, status: int, said: str) -> None:
    """A process that ends by a signal, or otherwise than it should, is no pass."""
    assert trial.verdict(output, status) == said


def test_what_it_writes_is_kept_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that writes without end is taken at its first words, and fills no memory but its own."""
    monkeypatch.setattr(trial, "command", lambda: [sys.executable, "-c", "while True: print('a reason' * 9999)"])
    running = trial.Trial(Settings(models=tmp_path, provider="cpu"), "1")
    try:
        assert [running.hear() for _ in range(50)] == [None] * 50
        assert len(running._output) <= 65536
    finally:
        assert running.end() == -9


def test_a_single_process_keeps_a_part_as_well(tmp_path: Path) -> None:
    """What serves alone reads a trial's words itself, to their end, and keeps the first of them."""

    async def main() -> tuple[bytes, int | None]:
        code = "import sys; print(len(sys.stdin.read())); print('a reason' * 99999)"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)
        return await _told(process, trial.order(Settings(models=tmp_path), "1")), process.returncode

    output, status = asyncio.run(main())
    length, _, rest = output.partition(b"\n")
    assert int(length) == len(trial.order(Settings(models=tmp_path), "1")) and status == 0
    assert len(output) == 65536 and rest == (b"a reason" * 99999)[: len(rest)]
