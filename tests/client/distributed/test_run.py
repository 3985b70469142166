"""The whole job on a cluster: the same rows as without it, also when its workers are killed; by `pytest -m ray`."""

import contextlib
import gzip
import os
import signal
import struct
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import fsspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.client.commands import PATIENCE, command, start
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode

pytestmark = pytest.mark.ray

_PICTURES = 1500
_PREDICTING = b"ray::MapWorker"


def _write_inputs(folder: Path, mnist: Mnist) -> list[str | Path]:
    """Inputs of every kind, good and bad."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, image in enumerate(mnist.images[:60]):
        (pictures / f"{number:02}.png").write_bytes(encode(255 - image))
    (pictures / "large.jpg").write_bytes(encode(drawn(), "JPEG"))
    (pictures / "bad.png").write_bytes(b"no picture")
    (pictures / "blank.png").write_bytes(encode(np.zeros((40, 40), np.uint8)))
    (pictures / "empty.png").write_bytes(b"")
    (pictures / os.fsdecode(b"name-\xff.png")).write_bytes(encode(mnist.images[7]))
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        for number, image in enumerate(mnist.images[:5]):
            archive.writestr(f"{number}.png", encode(image))
    np.save(folder / "photographs.npy", mnist.images[:3].repeat(3, axis=1).repeat(3, axis=2))
    idx = struct.pack(">4I", 0x803, 3000, 28, 28) + mnist.images[:3000].tobytes()
    (folder / "digits.gz").write_bytes(gzip.compress(idx, 1))
    return [pictures, *(folder / name for name in ("some.zip", "digits.gz", "photographs.npy", "missing.png"))]


def _rows(folder: str | Path) -> Any:
    """The table of a folder or its address, its files in the order of their names."""
    with fsspec.open_files(f"{folder}/part-*.parquet") as files:
        return pa.concat_tables(pq.read_table(file) for file in files)


def test_rows_are_those_of_a_run_without_it(cluster: Any, bucket: str, tmp_path: Path, mnist: Mnist) -> None:
    """Inputs of every kind, some bad, some in object storage: the same table to the last bit, in the same order.

    The job's own is in object storage, and the other in a file.
    """
    inputs = [*_write_inputs(tmp_path, mnist), f"{bucket}/in"]
    system = fsspec.filesystem("s3")
    for number, image in enumerate(mnist.images[100:110]):
        system.pipe_file(f"{bucket}/in/{number}.png", encode(image))
    there, here, log = f"{bucket}/out", tmp_path / "here.parquet", tmp_path / "log"
    columns = ("--probabilities", "--model-columns", "--layer", "fc1")
    address = ("--engine", "ray", "--ray-address", cluster.address, "--output", there)
    assert command(*inputs, *columns, *address, log=log) == 1, log.read_text()
    assert command(*inputs, *columns, "--local", "--output", here, log=log) == 1, log.read_text()
    expected, found = pq.read_table(here), _rows(there)
    assert len(expected) == 65 + 5 + 3000 + 3 + 1 + 10 and expected["error"].null_count == len(expected) - 3
    assert found.schema.equals(expected.schema, check_metadata=True) and found.equals(expected)
    names = sorted(path.rpartition("/")[2] for path in system.ls(there, detail=False))
    finished = orjson.loads(system.cat_file(f"{there}/_SUCCESS"))
    assert finished == {"rows": 3084, "failed": 3, "parts": names[1:]} and names[0] == "_SUCCESS"
    told = [line for line in log.read_text().splitlines() if line.startswith(("count", "rejected", "failed"))]
    assert len(told) == 6 and told[:3] == told[3:]  # both summaries
    assert command(*inputs, *address, log=log) == 2
    assert "out is there already, and finished" in log.read_text()


def test_no_row_is_lost_or_doubled_when_workers_are_killed(cluster: Any, tmp_path: Path, mnist: Mnist) -> None:
    """In mid-run the process of an actor is killed, and then a node with all that is on it; the table is the same.

    The last input is a pipe that nothing comes through before both are dead, so that the job cannot have been done.
    """
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, image in enumerate(mnist.images[:_PICTURES]):
        (pictures / f"{number:05}.png").write_bytes(encode(image))
    pipe = pictures / "last.png"
    os.mkfifo(pipe)
    there, here, log = tmp_path / "there", tmp_path / "here.parquet", tmp_path / "log"
    address = ("--engine", "ray", "--ray-address", cluster.address)
    process = start(pictures, *address, "--output", there, log=log)
    try:
        with _Held(pipe, encode(mnist.images[0])) as held:
            _until(lambda: held.reached.is_set() and _actors(cluster), "nothing is predicted", log)
            actor, node = _actors(cluster)[0]
            os.kill(actor, signal.SIGKILL)
            _until(lambda: actor not in [each for each, _ in _actors(cluster)], "the actor lives", log)
            cluster.remove_node(node, allow_graceful=False)
            assert process.poll() is None and not (there / "_SUCCESS").exists(), log.read_text()
            held.let_go.set()
            assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
    pipe.unlink()
    pipe.write_bytes(encode(mnist.images[0]))
    assert command(pictures, "--local", "--output", here, log=log) == 0
    expected = pq.read_table(here)
    assert len(expected) == _PICTURES + 1 and _rows(there).equals(expected)


class _Held:
    """A pipe that is read as a picture, as often as anybody reads it, but not before it is let go."""

    def __init__(self, pipe: Path, picture: bytes) -> None:
        self.reached, self.let_go, self._over = threading.Event(), threading.Event(), threading.Event()
        self._pipe, self._picture = pipe, picture
        self._thread = threading.Thread(target=self._feed)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.let_go.set()
        self._thread.join()

    def _feed(self) -> None:
        while not self._over.wait(0.1):
            try:
                file = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads it
                continue
            self.reached.set()
            with os.fdopen(file, "wb", buffering=0) as writer, contextlib.suppress(BrokenPipeError):
                self.let_go.wait()
                writer.write(self._picture)


def _actors(cluster: Any) -> list[tuple[int, Any]]:
    """The processes that hold a session, each with its node."""
    found = []
    for node in cluster.worker_nodes:
        raylet = node.all_processes["raylet"][0].process.pid
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == raylet and (process / "cmdline").read_bytes().startswith(_PREDICTING):
                    found.append((int(process.name), node))
    return found


def _until(happened: Callable[[], object], otherwise: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"{otherwise}:\n{log.read_text()}"
        time.sleep(0.05)
