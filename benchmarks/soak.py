"""`python -m benchmarks.soak`: an hour of mixed load, and whether memory, open files and latencies stay as they were.

The load comes in windows of a minute. In each, requests of every kind are due at fixed rates: predictions in all forms,
looks inside, the page, health and metrics, what is refused as bad, and callers who hang up in the midst of a request.
When a window is over its connections are closed, and what the service then holds is counted. It writes `soak.json` and
`soak.md`, and returns 1 if anything was answered otherwise than it should be, or grew. Latencies are told and not
judged, as they are those of the machine, too.
"""

import argparse
import asyncio
import datetime as dt
import gc
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median

import uvloop

from benchmarks.cpus import choose_cpus
from benchmarks.digits import ROOT, digits
from benchmarks.figures import percentile, short
from benchmarks.form import form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.openloop import OpenLoad
from benchmarks.plan import service_server
from benchmarks.server import HOST, Running, ask, check_answer, run_server, wait_for_answer
from benchmarks.streams import Stream, streams
from benchmarks.vitals import Vitals, vitals_of

_DRAIN = 10.0  # seconds for the last answers of a window
_SETTLE = 1.0  # seconds in which the service may see that the connections have ended
_REFUSED = 503
_MOST_REFUSED = 0.01  # of the requests of a kind, since a machine that stands still for a moment earns refusals
_HANG_UPS = 10  # a second
_FLAT_MB = 10.0  # of each worker
_SPARE_FILES = 4  # of each worker; a file that is open at one look and not at another is no leak
_PROBED = ("raw", "oip-binary", "oip-json", "png", "png-multipart", "photo")


@dataclass(frozen=True)
class Kind:
    """What became of the requests of one kind in one window.

    Attributes:
        right: answers of the status that is right.
        refused: answers of 503, as a machine that stands still for moments earns them.
        wrong: other answers, by status.
        lost: requests whose connection ended under them.
        p50_ms: from when a request was due to its right answer; p99_ms likewise; None of none.
    """

    right: int
    refused: int
    wrong: dict[int, int]
    lost: int
    unanswered: int
    p50_ms: float | None
    p99_ms: float | None

    @property
    def errors(self) -> int:
        """Requests that were neither answered right nor refused."""
        return sum(self.wrong.values()) + self.lost + self.unanswered

    @property
    def sent(self) -> int:
        """All of them."""
        return self.right + self.refused + self.errors


@dataclass(frozen=True)
class Window:
    """One of many: what became of its requests, by kind, and what the service held when it was over."""

    kinds: dict[str, Kind]
    hung_up: int
    vitals: Vitals


@dataclass(frozen=True)
class Soak:
    """All windows, and how many workers there were."""

    windows: list[Window]
    workers: int
    seconds: float  # of each
    wrong_digits: list[str] = field(default_factory=list)

    @property
    def early(self) -> list[Window]:
        """The second fifth: in the first the service still warms up."""
        count = max(1, len(self.windows) // 5)
        return self.windows[count : 2 * count] or self.windows[:1]

    @property
    def late(self) -> list[Window]:
        """The last fifth."""
        return self.windows[-max(1, len(self.windows) // 5) :]

    def grown(self, measure: Callable[[Vitals], float]) -> float:
        """By how much it is more in the last fifth than in the second."""
        return mean(measure(each.vitals) for each in self.late) - mean(measure(each.vitals) for each in self.early)

    def shortcomings(self) -> list[str]:
        """What of the promise was not kept."""
        found = list(self.wrong_digits)
        for name in self.windows[0].kinds:
            kinds = [window.kinds[name] for window in self.windows]
            if errors := sum(kind.errors for kind in kinds):
                statuses = sorted({status for kind in kinds for status in kind.wrong})
                found.append(f"{name}: {errors} not answered right ({statuses})")
            if (refused := sum(kind.refused for kind in kinds)) > _MOST_REFUSED * sum(kind.sent for kind in kinds):
                found.append(f"{name}: {refused} refused")
        if len({window.vitals.processes for window in self.windows}) > 1:
            found.append("a process of the service was replaced")
        if (grown := self.grown(lambda vitals: vitals.pss_mb)) > _FLAT_MB * self.workers:
            found.append(f"memory grew by {grown:.1f} MB")
        for name, measure in (("open files", lambda vitals: vitals.files), ("threads", lambda vitals: vitals.threads)):
            if (grown := self.grown(measure)) > _SPARE_FILES * self.workers:
                found.append(f"{grown:.0f} more {name}")
        return found


async def _hang_up(port: int, seconds: float) -> int:
    """Callers who go in the midst of a body, and others before their answer; returns how many did."""
    body = digits(1)[0].tobytes()
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 784\r\n\r\n"
    )
    count = round(seconds * _HANG_UPS)
    for number in range(count):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.write(head + (body if number % 2 else body[:100]))
        await asyncio.sleep(1 / _HANG_UPS)
        writer.transport.abort()
    return count


async def _run_window(port: int, kinds: dict[str, Stream], seconds: float, scale: float) -> tuple[dict[str, Kind], int]:
    loads = {}
    for name, stream in kinds.items():
        rate = stream.rate * scale
        total = max(1, round(rate * seconds))
        loads[name] = OpenLoad(
            HOST, port, stream.requests(), rate=rate, total=total, limit=stream.connections, standing=1
        )
    hanging_up = asyncio.ensure_future(_hang_up(port, seconds))
    await asyncio.gather(*(load.run(_DRAIN) for load in loads.values()))
    return {name: _kind(loads[name], stream.status) for name, stream in kinds.items()}, await hanging_up


def _kind(load: OpenLoad, status: int) -> Kind:
    times = sorted(load.latencies.pop(status, ()))
    refused = load.latencies.pop(_REFUSED, ())
    return Kind(
        right=len(times),
        refused=len(refused),
        wrong={other: len(found) for other, found in load.latencies.items()},
        lost=load.lost,
        unanswered=load.unanswered,
        p50_ms=_ms(times, 50),
        p99_ms=_ms(times, 99),
    )


def _ms(times: Sequence[float], percent: float) -> float | None:
    found = percentile(times, percent) * 1e3
    return None if math.isnan(found) else round(found, 3)


def soak(running: Running, *, windows: int, seconds: float, scale: float, workers: int) -> Soak:
    """Loads a service that runs for so many windows of so many seconds, at `scale` times the rates of `streams`."""
    kinds = streams()
    found = Soak([], workers, seconds)
    for _ in range(windows):
        gc.collect()
        answered, hung_up = uvloop.run(_run_window(running.port, kinds, seconds, scale))
        found.wrong_digits.extend(_wrong_digits(running.port))
        uvloop.run(asyncio.sleep(_SETTLE))
        found.windows.append(Window(answered, hung_up, vitals_of(running.session)))
        print(_line(found.windows[-1]), file=sys.stderr, flush=True)
    return found


def _line(window: Window) -> str:
    kinds, held = window.kinds.values(), window.vitals
    return (
        f"{sum(kind.right for kind in kinds):,} right, {sum(kind.refused for kind in kinds):,} refused, "
        f"{sum(kind.errors for kind in kinds):,} not answered right; "
        f"{held.pss_mb:.1f} MB, {held.files} open files, {held.threads} threads"
    )


def _wrong_digits(port: int) -> list[str]:
    """Of a request of each form, whose digits are known."""
    found = []
    for name in _PROBED:
        asked = form(name)
        status, headers, body = ask(port, asked)
        try:
            check_answer(asked, headers, body)
        except Exception as error:  # whatever it is
            found.append(f"{name} was answered by {status}: {error}")
    return found


def write_table(found: Soak, facts: dict[str, str]) -> str:
    """The page: what was answered, early and late latencies of each kind, and what the service held."""
    windows = found.windows
    requests = sum(kind.sent for window in windows for kind in window.kinds.values())
    errors = sum(kind.errors for window in windows for kind in window.kinds.values())
    refused = sum(kind.refused for window in windows for kind in window.kinds.values())
    hung_up = sum(window.hung_up for window in windows)
    missed = found.shortcomings()
    lines = [
        "# Soak",
        "",
        f"`python -m benchmarks.soak`: {len(windows)} windows of {found.seconds:g} s, {found.workers} workers, "
        f"{requests:,} requests at fixed rates, of which {refused:,} were refused by 503 and {errors} not answered "
        f"right, and {hung_up:,} callers who hung up in the midst of one. Early is the second fifth of the time, late "
        "the last. Latencies, in ms, count from when a request was due, and are medians over windows.",
        "",
        "| requests | a second | right answer | answered so | p50, early | late | p99, early | late |",
        "|" + " --- |" * 8,
    ]
    for name, stream in streams().items():
        right = sum(window.kinds[name].right for window in windows)
        cells = [name, short(right / found.seconds / len(windows)), str(stream.status), f"{right:,}"]
        cells += [_over(part, name, "p50_ms") for part in (found.early, found.late)]
        cells += [_over(part, name, "p99_ms") for part in (found.early, found.late)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| after window | memory, MB | of the largest process | open files | threads |", "|" + " --- |" * 5]
    step = max(1, len(windows) // 12)
    for number in sorted({0, *range(step - 1, len(windows), step), len(windows) - 1}):
        held = windows[number].vitals
        lines.append(f"| {number + 1} | {held.pss_mb:.1f} | {held.largest_mb:.1f} | {held.files} | {held.threads} |")
    lines += [
        "",
        f"Memory: {found.grown(lambda vitals: vitals.pss_mb):+.1f} MB from early to late; open files: "
        f"{found.grown(lambda vitals: vitals.files):+.1f}; threads: {found.grown(lambda vitals: vitals.threads):+.1f}.",
        "",
        f"Promised: of each kind at most {_MOST_REFUSED:.0%} are refused and all others answered as the table says, "
        "each known digit is right, no process is replaced; and from early to late no more than "
        f"{_FLAT_MB:g} MB, {_SPARE_FILES} files and {_SPARE_FILES} threads are added a worker.",
        "",
        *(f"- **not kept**: {text}" for text in missed),
        *([] if missed else ["All of it was kept."]),
        "",
        *(f"- {name}: {text}" for name, text in facts.items()),
        "",
    ]
    return "\n".join(lines)


def _over(windows: Sequence[Window], name: str, figure: str) -> str:
    known = [value for window in windows if (value := getattr(window.kinds[name], figure)) is not None]
    return short(median(known)) if known else "–"


def main(arguments: list[str] | None = None) -> int:
    """Soaks, and writes soak.json and soak.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Loads the service for long.")
    parser.add_argument("--minutes", type=float, default=60.0, help="of load (default: 60)")
    parser.add_argument("--window", type=float, default=60.0, help="seconds of each window (default: 60)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual rates (default: 1)")
    parser.add_argument("--workers", type=int, default=2, help="of the service (default: 2)")
    parser.add_argument("--out", type=Path, help="folder (default: benchmarks/, or .bench/trial/ below 30 minutes)")
    options = parser.parse_args(arguments)
    server = service_server("digitscope", "digitscope", choose_cpus().both, workers=options.workers)
    windows = max(1, round(options.minutes * 60 / options.window))
    with run_server(server) as running:
        wait_for_answer(running, form("raw"))
        found = soak(running, windows=windows, seconds=options.window, scale=options.scale, workers=options.workers)
    facts = {"date": dt.datetime.now(dt.UTC).date().isoformat(), **describe_machine(), **describe_packages()}
    out = options.out or (ROOT / "benchmarks" if options.minutes >= 30 else ROOT / ".bench" / "trial")
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps({"facts": facts, **asdict(found)}, indent=1) + "\n")
    page = write_table(found, facts)
    (out / "soak.md").write_text(page)
    print(page)
    return 1 if found.shortcomings() else 0


if __name__ == "__main__":
    sys.exit(main())
