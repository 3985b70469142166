"""A job from its options to its folder."""

import contextlib
import itertools
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from rich.console import Console

from client.distributed.parts import Parts
from client.distributed.stages import Predict, place_table, prepare, read
from client.errors import RunError
from client.inputs.stream import Place, places
from client.job import columns_of, lines
from client.local import chosen, cpus, read_model
from client.options import Options
from client.summary import Summary

_HERE = "local"
_RAISED = re.compile(r"^[\w.]+(?:Error|Exception): .+", re.MULTILINE)
_PLACES = 512  # of a block
_BLOCK = 512 * 2**10  # bytes of a block of inputs, of digits and of rows
_STORE = 512 * 2**20  # bytes of the objects of a Ray that is started here

# Parts of a CPU that a process is counted as. One that reads, prepares or writes goes with an actor to a CPU: with more
# a node would end those that rest and start them again, which takes seconds. An actor is counted as little, so that on
# what is left of a cluster that lost nodes the actors do not take the place of what feeds them. And Ray makes one stage
# of two that ask for the same, so that a large archive would be prepared by the one process that reads it.
_READ, _PREPARE, _PREDICT, _WRITE = 0.7, 0.75, 0.05, 0.7


def do(options: Options, console: Console, listed: Path) -> tuple[Summary, str]:
    """Does the job; what it came to, as counts and as text.

    `listed` is a file of the paths that `-` stands for, one a line.

    Raises:
        RunError: it cannot begin, or cannot go on.
    """
    folder = chosen(options.model)
    model = read_model(folder)
    columns = columns_of(options, model)
    # Relative paths begin where the command was given, on the nodes as well.
    output = options.folder if "://" in options.folder else str(Path(options.folder).absolute())
    parts = Parts(output, columns)
    with contextlib.redirect_stdout(sys.stderr), _cluster(options):  # where Ray tells of a node that died
        parts.prepare(restart=options.restart)
        began = time.monotonic()
        files = ray.put({name: (folder / name).read_bytes() for name in ("manifest.json", "model.onnx")})
        inputs = _inputs(places(options.inputs, lines(listed)), console)
        try:
            (
                inputs.map_batches(
                    read,
                    batch_size=None,
                    batch_format="pyarrow",
                    fn_kwargs={
                        "column": options.column,
                        "preprocess": options.preprocess,
                        "folder": str(Path.cwd()),
                    },
                    num_cpus=_READ,
                )
                .map_batches(
                    prepare,
                    batch_size=None,
                    batch_format="pyarrow",
                    fn_kwargs={"preprocess": options.preprocess},
                    num_cpus=_PREPARE,
                )
                .map_batches(
                    Predict,
                    batch_size=None,
                    batch_format="pyarrow",
                    fn_constructor_kwargs={"model": files, "columns": columns},
                    compute=ray.data.ActorPoolStrategy(min_size=1, max_size=_cpus()),
                    num_cpus=_PREDICT,
                )
                .write_datasink(parts, ray_remote_args={"num_cpus": _WRITE})
            )
        except ray.exceptions.RayError as error:
            raise RunError(f"the job failed: {_cause(error)}") from error
        seconds = time.monotonic() - began
    return parts.summary, parts.summary.text(parts.summary.rows, seconds)


def _inputs(found: Iterator[Place], console: Console) -> Any:
    """The places as a dataset of Ray, in blocks that are read by a task each."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK
    context.enable_progress_bars = console.is_terminal
    context.print_on_execution_start = False
    blocks: list[Any] = []
    while (some := list(itertools.islice(found, _PLACES))) or not blocks:
        blocks.append(place_table(some))
    return ray.data.from_arrow(blocks)


@contextmanager
def _cluster(options: Options) -> Iterator[None]:
    """Ray, at the address that is given, or started here for as long as the job lasts."""
    address = options.ray_address or os.environ.get("RAY_ADDRESS") or _HERE
    own = {
        "num_cpus": options.processes or cpus(),
        "object_store_memory": _STORE,
        "include_dashboard": False,
    }
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)  # before they warn of what is meant to be so
    try:
        ray.init(address, logging_level=logging.WARNING, log_to_driver=False, **(own if address == _HERE else {}))
    except Exception as error:  # Ray's own of many kinds
        raise RunError(f"Ray at '{address}' cannot be had: {error}") from error
    before = signal.signal(signal.SIGTERM, _end)  # Ray's own would end the process here and now
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        ray.shutdown()


def _cause(error: BaseException) -> str:
    """What a worker raised, of an error whose text has all of its traceback and advice besides."""
    told = str(error)
    found = _RAISED.search(told)
    return found[0] if found else told.strip().rpartition("\n")[2]


def _cpus() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _end(number: int, frame: Any) -> NoReturn:  # noqa: ARG001 — as handlers are called
    raise KeyboardInterrupt
