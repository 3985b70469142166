"""The results as tables of Markdown."""

from collections.abc import Iterable, Sequence

from benchmarks.figures import short, spread
from benchmarks.plan import MANY
from benchmarks.results import Results
from benchmarks.verdict import Verdict

_HELD = {True: "yes", False: "**no**", None: "not measured"}


def write_tables(results: Results, verdicts: Sequence[Verdict]) -> str:
    """The whole page."""
    limit = results.limit()
    parts = [
        "# Benchmarks",
        "Written by `make bench`; every raw figure is in [results.json](results.json). Figures are medians over "
        f"{len(results.rounds)} rounds (least–most); ratios are taken within each round. The server runs on one CPU "
        "and the load generator on another, unless a row says otherwise.",
        "![Requests a second of every server](chart.svg)",
        _table(("", ""), [("date", results.date), *results.machine.items(), *results.packages.items()]),
        f"Limit, the two floors in a row: {limit} images a second." if limit else "The limit was not measured.",
        "## What must be shown",
        _table(("line", "claim", "bound", "found", "held"), map(_verdict_row, verdicts)),
        "## One image a request",
        _loads(results, 1),
        f"## {MANY} images a request",
        _loads(results, MANY),
        "## ONNX Runtime alone, one thread, images a second",
        "What is laid out is the same file, as the service opens it on a CPU with AVX-512 (`service/avx512.py`): the "
        "same numbers to the bit. The limit and what must be shown are by the file as it is, which the others run.",
        _engines(results),
        "## Open loop",
        "Latency in ms from when a request was due. Parts are of the saturation measured just before.",
        _open_loops(results),
        "## Start and memory",
        _memory(results),
    ]
    if failures := results.failures():
        parts += ["## Not measured", _table(("what", "cause"), failures.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict_row(verdict: Verdict) -> tuple[str, ...]:
    return str(verdict.line), verdict.text, verdict.bound, str(verdict.found or "–"), _HELD[verdict.held]


def _loads(results: Results, images: int) -> str:
    keys = dict.fromkeys(key for found in results.rounds for key in found.loads)
    order = list(results.titles)
    rows = []
    for key in sorted(keys, key=lambda key: order.index(key.split("/")[0])):
        server, form, count, connections = key.split("/")
        if int(count) == images:
            loads = results.loads(key)
            p50, p99 = (
                spread(value / 1e3 for value in values)
                for values in zip(*((x.p50_us, x.p99_us) for x in loads), strict=True)
            )
            rate = results.rate(key)
            rows.append((results.titles[server], form, connections, str(rate), str(p50), str(p99)))
    return _table(("server", "form", "connections", "requests/s", "p50 ms", "p99 ms"), rows)


def _engines(results: Results) -> str:
    variants = dict.fromkeys(name for found in results.rounds for name in found.engines)
    rows = []
    for variant in variants:
        engines = [found.engines[variant] for found in results.rounds if variant in found.engines]
        rows += [
            (variant, str(size), str(spread(engine.rates[size] for engine in engines))) for size in engines[0].rates
        ]
        rows.append((variant, "one call, µs", str(spread(engine.call_us for engine in engines))))
    return _table(("variant", "batch", "images/s"), rows)


def _open_loops(results: Results) -> str:
    rows = []
    for server, title in results.titles.items():
        parts = dict.fromkeys(part for found in results.rounds for part in found.open_loops.get(server, {}))
        for part in parts:
            runs = [
                found.open_loops[server][part] for found in results.rounds if part in found.open_loops.get(server, {})
            ]
            latencies = [
                str(spread(known)) if (known := [run.served_ms[name] for run in runs if run.served_ms]) else "–"
                for name in ("p50", "p90", "p99", "p99.9", "max")
            ]
            refused = [run.refused_ms["p99"] for run in runs if run.refused_ms]
            late = [run.late_ms["p99"] for run in runs if run.late_ms]
            rows.append(
                (
                    title, f"{part:.0%}", str(spread(run.rate for run in runs)),
                    str(spread(run.served / run.seconds for run in runs)),
                    str(spread(run.refused / run.seconds for run in runs)),
                    short(sum(run.errors for run in runs)), *latencies,
                    str(spread(refused)) if refused else "–", str(spread(late)) if late else "–",
                    str(spread(run.cpu for run in runs)),
                )
            )  # fmt: skip
    head = (
        "server",
        "part",
        "due/s",
        "served/s",
        "refused/s",
        "errors",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "refused p99",
        "sent late p99",
        "generator's CPU",
    )
    return _table(head, rows)


def _memory(results: Results) -> str:
    rows = [("digitscope", "cold start, s", str(spread(results.cold)))] if results.cold else []
    for server, title in results.titles.items():
        found = [memory for found in results.rounds for memory in found.memory.get(server, [])]
        if found:
            rows.append((title, "Rss of a process, MB", str(spread(memory.rss_mb for memory in found))))
            rows.append((title, "Pss of a process, MB", str(spread(memory.pss_mb for memory in found))))
    return _table(("server", "what", "found"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
