"""One run, from its options to its table."""

import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console

from client.asynchronous import AsyncClient
from client.errors import ClientError, RunError
from client.group import groups
from client.inputs.item import Item
from client.inputs.places import resolved
from client.inputs.stream import items
from client.memory import give_back
from client.options import Options
from client.outputs.columns import Columns
from client.outputs.formats import unfinished_of, write_output
from client.outputs.ledger import Ledger, journal_of, partial_of
from client.pipeline import run
from client.prediction import Model, Row
from client.progress import Bar
from client.remote import Answerer, Remote
from client.report import write_report
from client.summary import Summary, summarise
from client.window import Window

_GREETING = 10.0  # seconds in which a service is to answer at first
_log = logging.getLogger(__name__)


async def do(options: Options, console: Console, listed: Path) -> tuple[Summary, str] | None:
    """Does the run; what it came to, as counts and as text, or None if it was done before.

    `listed` is a file of the paths that `-` stands for, one a line; it is read more than once.

    Raises:
        RunError: it cannot begin, or cannot go on.
        OSError: the output cannot be written.
    """
    if options.resume and options.output.exists() and not journal_of(options.output).exists():
        return None
    async with _answerer(options) as (answerer, model):
        columns = columns_of(options, model)
        identity = {
            "inputs": [_text(each) for each in options.inputs],
            "column": options.column and _text(options.column),
            "preprocess": options.preprocess,
            "model": f"{model.name}/{model.version} ({model.sha256[:12]}…)",
            "columns": columns.schema.names,
        }
        with Ledger(options.output, columns, identity, resume=options.resume, restart=options.restart) as ledger:
            began = time.monotonic()
            await _fill(ledger, answerer, options, listed, console)
            seconds = time.monotonic() - began
            ledger.commit()
            give_back()
            write_output(options.output, columns.schema, ledger.batches)
            summary = summarise(ledger.batches())
            told = summary.text(ledger.rows - ledger.kept, seconds)
            if options.report:
                again = _items(options, listed)
                write_report(options.report, summary, ledger.batches(), again, told.partition("\n")[0])
            ledger.remove()
    return summary, told


async def _fill(ledger: Ledger, answerer: Answerer, options: Options, listed: Path, console: Console) -> None:
    if ledger.kept:
        _log.warning("resumed: %s rows are there already", f"{ledger.kept:,}")
    with Bar(console, lambda: _items(options, listed), ledger.kept) as bar:

        async def write(rows: list[Row]) -> None:
            ledger.write(rows)  # not in a thread, which an interruption would leave at work
            bar.advance(rows)

        await run(groups(ledger.unread(_items(options, listed)), options.preprocess), answerer, write, options.most)


def _items(options: Options, listed: Path) -> Iterator[Item]:
    return items(options.inputs, lines(listed), options.column, _own_files(options))


def _own_files(options: Options) -> frozenset[str]:
    """What the run itself writes, as `resolved` names it."""
    output, report = options.output, options.report
    found = [output, partial_of(output), journal_of(output), unfinished_of(output)]
    if report is not None:
        found += [report, unfinished_of(report)]
    return frozenset(resolved(str(path)) for path in found)


def lines(path: Path) -> Iterator[str]:
    """The lines of a file of paths, of whatever bytes they are."""
    with path.open("rb") as file:
        for line in file:
            yield os.fsdecode(line)


def _text(argument: str) -> str:
    """An argument as text that a journal can have: what a file system has may be none."""
    return os.fsencode(argument).decode(errors="backslashreplace")


def columns_of(options: Options, model: Model) -> Columns:
    """The columns that are asked for.

    Raises:
        RunError: the model has no such layer.
    """
    if options.layer and options.layer not in model.layers:
        raise RunError(f"--layer {options.layer}: the model's layers are {', '.join(model.layers)}")
    return Columns(model, options.layer, options.probabilities, options.model_columns)


@asynccontextmanager
async def _answerer(options: Options) -> AsyncIterator[tuple[Answerer, Model]]:
    if options.local:
        try:
            from client.local import Local, chosen  # noqa: PLC0415 — it needs the service's own packages
        except ModuleNotFoundError as error:
            raise RunError(f"--local needs {error.name}: pip install '.[client,cpu]'") from error
        folder = chosen(options.model)
        with Local(folder, preprocess=options.preprocess, layer=options.layer, processes=options.processes) as local:
            yield local, local.model
        return
    window = Window(options.most)
    async with AsyncClient(options.url, timeout=options.timeout, patience=options.patience, window=window) as client:
        try:
            model = await client.model(min(_GREETING, options.patience))
        except ClientError as error:
            raise RunError(f"{options.url}: {error}") from error
        yield Remote(client, preprocess=options.preprocess, layer=options.layer, model=model.name), model
