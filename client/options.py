"""The command's flags."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from client.asynchronous import Preprocess
from client.outputs.formats import WRITERS
from client.transport import KEY_VARIABLE

_WITH_FEATURES = (".parquet", ".npz")
_NOT_WITH_RAY = {
    "url": "which asks no service",
    "local": "which predicts on its workers",
    "timeout": "which asks no service",
    "patience": "which asks no service",
    "most": "which asks no service",
    "report": "whose rows are in many files",
    "resume": "which goes on by itself when a worker dies",
}


@dataclass(frozen=True)
class Options:
    """What is to be done.

    Attributes:
        inputs: paths, patterns, addresses, or `-`.
        output: the table to write.
        folder: the same as it was given, since with `engine` ray it may be an address.
        engine: what does the work: own, or ray.
        ray_address: of the cluster.
        url: of the service.
        local: whether no service is asked.
        model: the folder that predicts then: a version's, or one of models.
        preprocess: mnist, or none for pictures that are prepared digits.
        layer: whose values are a column too.
        probabilities, model_columns: whether there are those columns.
        column: of Parquet inputs.
        report: the page to write.
        resume, restart: what becomes of an unfinished run.
        timeout, patience: seconds of one attempt, and of all at one request.
        most: requests at once.
        processes: of `local`, or CPUs of a Ray that is started here; 0 for those that there are.
    """

    inputs: tuple[str, ...]
    output: Path
    folder: str
    engine: str
    ray_address: str | None
    url: str
    local: bool
    model: Path
    preprocess: Preprocess
    layer: str | None
    probabilities: bool
    model_columns: bool
    column: str | None
    report: Path | None
    resume: bool
    restart: bool
    timeout: float
    patience: float
    most: int
    processes: int


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """The options that are given; ends the process with status 2 where they are wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    given.folder, given.output = given.output, Path(given.output)
    if given.engine == "ray":
        _check_with_ray(parser, given)
    else:
        _check(parser, given)
    return Options(**{**vars(given), "inputs": tuple(given.inputs), "preprocess": cast("Preprocess", given.preprocess)})


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    suffix = given.output.suffix.lower()
    if given.ray_address is not None:
        parser.error("--ray-address: it is of --engine ray")
    if suffix not in WRITERS:
        parser.error(f"--output: its name is to end in one of {', '.join(WRITERS)}")
    if given.layer and suffix not in _WITH_FEATURES:
        parser.error(f"--layer: its values go into {' or '.join(_WITH_FEATURES)}, not into {suffix}")
    if given.resume and given.restart:
        parser.error("--resume and --restart: it is one or the other")
    for path in (given.output, given.report):
        if path is not None and not path.parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}")


def _check_with_ray(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    for name, why in _NOT_WITH_RAY.items():
        if getattr(given, name) != parser.get_default(name):
            parser.error(f"--{name}: not with --engine ray, {why}")
    if given.output.suffix.lower() in WRITERS.keys() - {".parquet"}:
        parser.error("--output: --engine ray writes a folder of Parquet files")
    if given.processes and (given.ray_address or os.environ.get("RAY_ADDRESS")):
        parser.error("--processes: a cluster has the CPUs that it has")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="digitscope-batch",
        description="Recognises the digits in many pictures and writes a table with a row for each, in their order.",
        epilog="Exit status: 0 all answered, 1 some inputs failed and their rows say why, 2 aborted. A key for the "
        f"service is taken from the environment's {KEY_VARIABLE}.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files, folders, patterns or addresses such as s3://…: pictures, ZIP and TAR archives of them, NPY, NPZ, "
        "IDX (gzipped or not), Parquet; told by their content. - reads paths from standard input, one a line",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="the table: .csv, .jsonl, .parquet or .npz; with --engine ray a folder of Parquet files, or its address",
    )
    parser.add_argument(
        "--engine",
        choices=("own", "ray"),
        default="own",
        help="ray predicts as a job of Ray Data, on this machine or on a cluster (default: own)",
    )
    parser.add_argument(
        "--ray-address", metavar="ADDRESS", help="of the cluster (default: RAY_ADDRESS, else Ray is started here)"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service (default: %(default)s)")
    parser.add_argument("--local", action="store_true", help="ask no service but predict here, on all CPUs")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="of --local and --engine ray: a version's folder, or one of models, for the newest (default: models)",
    )
    parser.add_argument(
        "--processes",
        type=_number(int, 0),
        default=0,
        help="of --local, or CPUs of a Ray that is started here (default: one for each CPU)",
    )
    parser.add_argument(
        "--preprocess",
        choices=("mnist", "none"),
        default="mnist",
        help="none takes pictures of 28×28 pixels as prepared digits, bright ink on black (default: mnist)",
    )
    parser.add_argument("--probabilities", action="store_true", help="columns p0 to p9")
    parser.add_argument("--model-columns", action="store_true", help="columns model, version and sha256")
    parser.add_argument("--layer", help="a column with the values of this layer, such as fc1; for .parquet and .npz")
    parser.add_argument("--column", help="of Parquet inputs, the one with the pictures (default: the one with bytes)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="a page with the least certain answers")
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished run; begin if there is none")
    parser.add_argument("--restart", action="store_true", help="begin anew where there is an unfinished run")
    parser.add_argument(
        "--timeout", type=_number(float, 0.001), default=30.0, help="seconds of one attempt (default: 30)"
    )
    parser.add_argument(
        "--patience",
        type=_number(float, 0),
        default=120.0,
        help="seconds of all attempts at one request (default: 120)",
    )
    parser.add_argument("--most", type=_number(int, 1), default=16, help="requests at once (default: 16)")
    return parser


def _number(kind: type[int] | type[float], least: float) -> "type[int] | type[float]":
    def parse(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    parse.__name__ = "number"  # which argparse names in its message
    return cast("type[float]", parse)
