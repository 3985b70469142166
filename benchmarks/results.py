"""All that a run brought, as it is written to results.json."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.figures import Spread, in_a_row, spread
from benchmarks.rounds import Round
from benchmarks.wrk import Load

FLOOR = "floor/floor/1/64"


@dataclass(frozen=True)
class Results:
    """A run: when, where, how, and its figures round by round.

    Attributes:
        titles: the servers' names as a reader knows them, in the order of the plan.
        absent: servers that could not be measured at all, with the cause.
        cold: seconds of each cold start.
    """

    date: str
    machine: dict[str, str]
    packages: dict[str, str]
    settings: dict[str, Any]
    titles: dict[str, str]
    absent: dict[str, str]
    cold: list[float]
    rounds: list[Round]

    def loads(self, key: str) -> list[Load]:
        """The loads of that name, of the rounds that have it."""
        return [found.loads[key] for found in self.rounds if key in found.loads]

    def rate(self, key: str) -> Spread | None:
        """Requests a second of the load of that name."""
        loads = self.loads(key)
        return spread(load.rate for load in loads) if loads else None

    def limit(self) -> Spread | None:
        """What Python can come to here: the two floors in a row, each round by itself."""
        limits = [limit for found in self.rounds if (limit := round_limit(found)) is not None]
        return spread(limits) if limits else None

    def failures(self) -> dict[str, str]:
        """What could not be measured in some round, with the last cause."""
        return self.absent | {name: cause for found in self.rounds for name, cause in found.failures.items()}

    def as_json(self) -> dict[str, Any]:
        """Every raw figure; a figure that is not there is null."""
        return without_nan(asdict(self))  # type: ignore[no-any-return]  # a dict in, a dict out


def round_limit(found: Round) -> float | None:
    """The limit by one round's own floors: a request's time on the bare application, then an image's on the engine."""
    floor, engine = found.loads.get(FLOOR), found.engines.get("float32")
    return in_a_row(floor.rate, engine.best) if floor and engine else None


def without_nan(value: Any) -> Any:
    """The same with null for what is no number, which JSON does not know."""
    if isinstance(value, dict):
        return {str(name): without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
