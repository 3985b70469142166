"""What must be shown: each promise with its bound, the figure of every round, and whether the median keeps it."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Spread, ratios, short, spread
from benchmarks.plan import MANY
from benchmarks.results import Results, round_limit
from benchmarks.rounds import Round

_RAW, _BINARY, _FLOOR = "digitscope/raw/1/{}", "digitscope/oip-binary/1/{}", "floor/floor/1/{}"
_PLAIN = "fastapi_plain/plain-upload/1/64"
OfRound = Callable[[Round], float | None]


@dataclass(frozen=True)
class Claim:
    """A promise: its line in the list of what must be shown, in words, its bound, and its figures in a run."""

    line: int
    text: str
    bound: float
    values: Callable[[Results], list[float]]
    at_least: bool = True


@dataclass(frozen=True)
class Verdict:
    """A claim with what was found; `held` is None where it was not measured."""

    line: int
    text: str
    bound: str
    found: Spread | None
    held: bool | None


def judge(results: Results) -> list[Verdict]:
    """The verdict on every claim, by the median over rounds."""
    verdicts = []
    for claim in CLAIMS:
        values = claim.values(results)
        found = spread(values) if values else None
        held = (
            None if found is None else (found.median >= claim.bound if claim.at_least else found.median <= claim.bound)
        )
        verdicts.append(
            Verdict(claim.line, claim.text, f"{'≥' if claim.at_least else '≤'} {short(claim.bound)}", found, held)
        )
    return verdicts


def _rate(key: str) -> OfRound:
    return lambda found: found.loads[key].rate if key in found.loads else None


def _images(key: str) -> OfRound:
    return lambda found: found.loads[key].rate * MANY if key in found.loads else None


def _best(found: Round) -> float | None:
    return found.engines["float32"].best if "float32" in found.engines else None


def _p50(found: Round) -> float | None:
    load = found.loads.get(_RAW.format(1))
    return load.p50_us if load else None


def _p50_floors(found: Round) -> float | None:
    load, engine = found.loads.get(_FLOOR.format(1)), found.engines.get("float32")
    return load.p50_us + engine.call_us if load and engine else None


def _ratio(upper: OfRound, lower: OfRound) -> Callable[[Results], list[float]]:
    return lambda results: ratios(
        [upper(found) for found in results.rounds], [lower(found) for found in results.rounds]
    )


def _open(server: str, part: float, figure: Callable[[Round], float]) -> Callable[[Results], list[float]]:
    return lambda results: [figure(found) for found in results.rounds if part in found.open_loops.get(server, {})]


def _p99(found: Round) -> float:
    return found.open_loops["digitscope"][0.7].served_ms["p99"]


def _errors(server: str, part: float) -> Callable[[Round], float]:
    return lambda found: found.open_loops[server][part].errors


def _past_peak(server: str, *, served_alone: bool) -> Callable[[Round], float]:
    def figure(found: Round) -> float:
        run = found.open_loops[server][1.5]
        count = run.served if served_alone else run.served + run.refused
        return count / run.seconds / found.loads[f"{server}/raw/1/64"].rate

    return figure


def _overload(server: str) -> tuple[Claim, ...]:
    return (
        Claim(
            5, "open loop at 150 %: requests neither served nor refused", 0,
            _open(server, 1.5, _errors(server, 1.5)), at_least=False,
        ),
        Claim(
            5, "open loop at 150 %: answers a second / peak", 0.9,
            _open(server, 1.5, _past_peak(server, served_alone=False)),
        ),
        Claim(
            5, "open loop at 150 %: served a second / peak", 0.6,
            _open(server, 1.5, _past_peak(server, served_alone=True)),
        ),
    )  # fmt: skip


def _memory(server: str) -> Callable[[Results], list[float]]:
    return lambda results: [
        max(memory.rss_mb for memory in found.memory[server]) for found in results.rounds if found.memory.get(server)
    ]


CLAIMS = (
    Claim(1, "raw, 64 connections / limit", 0.85, _ratio(_rate(_RAW.format(64)), round_limit)),
    Claim(1, "OIP binary, 64 connections / limit", 0.85, _ratio(_rate(_BINARY.format(64)), round_limit)),
    Claim(1, "raw / PyTriton", 5, _ratio(_rate(_RAW.format(64)), _rate("pytriton/oip-binary/1/64"))),
    Claim(1, "OIP binary / PyTriton", 5, _ratio(_rate(_BINARY.format(64)), _rate("pytriton/oip-binary/1/64"))),
    Claim(1, "raw / plain FastAPI", 7, _ratio(_rate(_RAW.format(64)), _rate(_PLAIN))),
    Claim(1, "int8, raw / float32 limit", 1, _ratio(_rate("digitscope-int8/raw/1/64"), round_limit)),
    Claim(1, "p50 at one connection / (bare ASGI's + one call)", 2.5, _ratio(_p50, _p50_floors), at_least=False),
    Claim(2, "256 images, raw / ONNX Runtime's best", 0.9, _ratio(_images("digitscope/raw/256/16"), _best)),
    Claim(
        2,
        "256 images, OIP binary / ONNX Runtime's best",
        0.9,
        _ratio(_images("digitscope/oip-binary/256/16"), _best),
    ),
    Claim(3, "PNG with preprocessing / plain FastAPI", 2.5, _ratio(_rate("digitscope/png/1/64"), _rate(_PLAIN))),
    Claim(
        4,
        "two workers / one, of 64 connections each",
        1.6,
        _ratio(_rate("digitscope-2/raw/1/128"), _rate(_RAW.format(64))),
    ),
    Claim(
        4,
        "two workers / one, of 64 connections together",
        1.6,
        _ratio(_rate("digitscope-2/raw/1/64"), _rate(_RAW.format(64))),
    ),
    Claim(5, "open loop at 70 %: p99 in ms", 10, _open("digitscope", 0.7, _p99), at_least=False),
    Claim(5, "open loop at 70 %: errors", 0, _open("digitscope", 0.7, _errors("digitscope", 0.7)), at_least=False),
    *_overload("digitscope"),
    Claim(6, "cold start to the first right answer, in s", 1, lambda results: results.cold, at_least=False),
    Claim(6, "resident memory of the worker, in MB", 150, _memory("digitscope"), at_least=False),
    Claim(6, "resident memory of the larger of two workers, in MB", 150, _memory("digitscope-2"), at_least=False),
)
"""What the issue on serving promises, in its order. Lines 1 and 2 ask for raw or OIP binary: both are shown. Line 4
does not say how many connections: as many for each worker, whose batches are then as large, or as many altogether."""
