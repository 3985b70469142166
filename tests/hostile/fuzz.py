"""`python -m tests.hostile.fuzz TARGET FOLDER`: bytes of every kind to one way into the service, guided by coverage.

atheris (https://github.com/google/atheris) changes what it is given byte by byte, and keeps in the folder what reaches
code that nothing had reached before. The folder begins with the hostile corpus. What goes wrong ends it: an exception
that is none of the service's own refusals, a 5xx, twenty seconds for one input, more memory than a request may have, or
a process that grows. It needs atheris, which has an environment of its own; see `.ci/run`.
"""

import argparse
import asyncio
import logging
import operator
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, get_args

import atheris
import numpy as np
from atheris import core_with_libfuzzer
from atheris.version_dependent import CMP_OP_SHIFT_AMOUNT

with atheris.instrument_imports(include=["service", "PIL", "python_multipart"]):
    from service.app import create_app
    from service.errors import DigitscopeError
    from service.image import Preprocess, find_digits, open_picture, seen_by_network
    from service.settings import Settings
    from tests.hostile.corpus import write
    from tests.hostile.growth import Watched
    from tests.service.asgi import ask, running
    from tests.service.protocol.frames import INFER, LENGTH
    from tests.service.serving import MODELS

_PIXELS = 1_000_000
_LONGEST = 8192  # bytes of an input
_LONGEST_WAIT = 20  # seconds for one input
_MEMORY = 2000  # MB
_LOOK = 1500  # inputs from one look at the memory to the next
_GROWTH = 25_000_000  # bytes: the fuzzer's own inputs, and tables for sizes that pictures have, which are bounded
_OPERATORS = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)

Target = Callable[[bytes], None]


def read_picture(data: bytes) -> None:
    """A picture's file, as both ways to look at it read it."""
    for preprocess in get_args(Preprocess):
        with suppress(DigitscopeError):
            seen_by_network(open_picture(data, _PIXELS), preprocess)
    with suppress(DigitscopeError):
        find_digits(data, _PIXELS)


class Asked:
    """The whole application, asked by a request's body."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._app = create_app(
            Settings(models=MODELS, provider="cpu", max_body=100_000, max_images=5, max_pixels=_PIXELS)
        )
        self._runner.run(AsyncExitStack().enter_async_context(running(self._app)))

    def infer(self, data: bytes) -> None:
        """JSON; and behind a length in two bytes, JSON with tensors behind it; and the same, packed."""
        self._ask(INFER, data, {})
        self._ask(INFER, data[2:], {LENGTH: str(int.from_bytes(data[:2], "little"))})
        self._ask(INFER, data, {"Content-Encoding": "gzip"})

    def upload(self, data: bytes) -> None:
        """A multipart body."""
        self._ask("/v1/predict", data, {"Content-Type": "multipart/form-data; boundary=b"})

    def _ask(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        # Its own bound: libFuzzer's alarm does not wake a loop on which nothing happens.
        answered = self._runner.run(asyncio.wait_for(ask(self._app, "POST", path, body, headers), _LONGEST_WAIT))
        if answered.status not in (200, 400, 413, 415):
            raise AssertionError(f"{answered.status}: {answered.body[:200]!r}")


def let_arrays_go() -> None:
    """Has arrays compared by NumPy alone.

    atheris 3.0 keeps the result of each comparison that it sees for ever (`_trace_cmp` in its core.cc owns it, and
    pybind11 counts it once more). Truth values are always there, but the mask of an array is new each time. It learns
    nothing from them in any case.
    """
    traced = core_with_libfuzzer._trace_cmp

    def compared(left: Any, right: Any, operation: int, place: int, constant: bool) -> Any:
        if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
            return _OPERATORS[operation >> CMP_OP_SHIFT_AMOUNT](left, right)
        return traced(left, right, operation, place, constant)

    core_with_libfuzzer._trace_cmp = compared


def main() -> None:
    """Looks for trouble for as long as it is told to."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("target", choices=("picture", "infer", "upload"))
    parser.add_argument("folder", type=Path, help="of inputs, which grows")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    options = parser.parse_args()
    ways = {"picture": "/v1/predict", "infer": INFER, "upload": "/v1/predict"}
    write(options.folder, ways[options.target], _LONGEST)
    asked = None if options.target == "picture" else Asked()
    target: Target = read_picture if asked is None else getattr(asked, options.target)
    let_arrays_go()
    flags = (f"-max_total_time={options.seconds}", f"-rss_limit_mb={_MEMORY}", f"-max_len={_LONGEST}")
    found = (f"-timeout={_LONGEST_WAIT}", f"-artifact_prefix={options.folder}/found-", "-print_final_stats=1")
    logging.disable()  # of what is refused
    atheris.Setup([sys.argv[0], str(options.folder), *flags, *found], Watched(target, _LOOK, _GROWTH))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
