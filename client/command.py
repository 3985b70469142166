"""The command: does a run as its flags say, and tells how it went by its exit status."""

import asyncio
import contextlib
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from client.errors import ClientError, RunError
from client.inputs.stream import LISTED
from client.job import do
from client.memory import keep_little
from client.options import Options, read_options
from client.outputs.finished import has_failures
from client.outputs.ledger import journal_of
from client.summary import Summary

CLEAN, SOME_FAILED, ABORTED = 0, 1, 2
_log = logging.getLogger("client")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0 if all inputs were answered, 1 if some failed, 2 if the run was aborted."""
    options = read_options(arguments)
    keep_little()
    console = Console(stderr=True)
    with _logging(console):
        return _run(options, console)


def _run(options: Options, console: Console) -> int:
    try:
        with tempfile.NamedTemporaryFile() as listed:
            if LISTED in options.inputs:
                shutil.copyfileobj(sys.stdin.buffer, listed)
                listed.flush()
            done = _do(options, console, Path(listed.name))
    except ClientError as error:
        return _abort(str(error), options)
    except OSError as error:
        return _abort(f"{error.filename or options.output}: {error.strerror or error}", options)
    except (asyncio.CancelledError, KeyboardInterrupt):
        return _abort("told to end", options)
    except Exception as error:  # a fault of ours, whose status is not to be the one of inputs that failed
        _log.exception("this should not have happened")
        return _abort(f"{type(error).__name__}: {error}", options)
    if done is None:
        return _finished_before(options)
    summary, text = done
    sys.stdout.write(f"{text}\n")
    return SOME_FAILED if summary.failed else CLEAN


def _do(options: Options, console: Console, listed: Path) -> tuple[Summary, str] | None:
    if options.engine == "own":
        return asyncio.run(_do_here(options, console, listed))
    try:
        from client.distributed.run import do as do_distributed  # noqa: PLC0415 — of an extra
    except ModuleNotFoundError as error:
        raise RunError(f"--engine ray needs {error.name}: pip install 'digitscope[ray]'") from error
    return do_distributed(options, console, listed)


async def _do_here(options: Options, console: Console, listed: Path) -> tuple[Summary, str] | None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 — this is one
    with contextlib.suppress(NotImplementedError):  # on Windows
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await do(options, console, listed)


def _finished_before(options: Options) -> int:
    """What the output that is there says of its inputs, as an exit status."""
    try:
        failures = has_failures(options.output)
    except ClientError as error:
        return _abort(str(error), options)
    _log.warning(
        "%s is there already, and no unfinished run beside it: nothing was done, and whether its inputs and flags were "
        "these was not compared",
        options.output,
    )
    return SOME_FAILED if failures else CLEAN


def _abort(sentence: str, options: Options) -> int:
    kept = "; --resume goes on with what was answered" if journal_of(options.output).exists() else ""
    _log.error("aborted: %s%s", sentence, kept)
    return ABORTED


@contextlib.contextmanager
def _logging(console: Console) -> Iterator[None]:
    """Sends what the run has to say to standard error, above the bar where there is one."""
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.removeHandler(handler)
