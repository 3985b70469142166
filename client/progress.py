"""What a person who waits is shown: images, images a second, failures, time left. Nothing where nobody looks."""

import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.text import Text

from client.prediction import Row


class _Rate(TextColumn):
    """Images a second, of late."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: RichTask) -> Text:
        return Text(f"{task.speed or 0:,.0f} images/s")


class Bar:
    """A bar on standard error, if that is a terminal. The inputs are counted meanwhile, for the time that is left."""

    def __init__(self, console: Console, count: Callable[[], Iterable[Any]], done: int) -> None:
        """`count` begins a stream of all inputs, of which so many are done already."""
        self._bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TextColumn("{task.fields[failures]:,} failed"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, completed=done, failures=0)
        self._count = count
        self._failures = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._bar.start()
        if not self._bar.disable:
            threading.Thread(target=self._find_total, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._bar.stop()

    def advance(self, rows: Sequence[Row]) -> None:
        """Shows that so many more are done."""
        self._failures += sum(row.error is not None for row in rows)
        self._bar.update(self._task, advance=len(rows), failures=self._failures)

    def _find_total(self) -> None:
        total = 0
        for _ in self._count():
            total += 1
            if self._over.is_set():
                return
        self._bar.update(self._task, total=total)
