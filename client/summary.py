"""What a run came to, counted over the rows of its table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

_DISTINCT = 100  # sentences that are counted apart
_OTHERS = "other sentences"
_SHOWN = 10


@dataclass
class Summary:
    """Counts of rows.

    Attributes:
        rows: all of them.
        digits: how many were read as each digit, the rejected ones too.
        reasons: of those that are rejected.
        failures: the sentences of those without a prediction.
    """

    rows: int = 0
    digits: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """How many have no prediction."""
        return self.failures.total()

    def add(self, other: "Summary") -> None:
        """Takes in the counts of other rows."""
        self.rows += other.rows
        self.digits.update(other.digits)
        self.reasons.update(other.reasons)
        for sentence, count in other.failures.items():
            self.fail(sentence, count)

    def text(self, asked: int, seconds: float) -> str:
        """The summary in a few lines; `asked` of the rows were had in so many seconds, and the rest before."""
        rate = asked / seconds if seconds else 0.0
        before = f", and {self.rows - asked:,} were there before" if asked < self.rows else ""
        lines = [
            f"{asked:,} inputs in {seconds:.1f} s, {rate:,.0f} a second{before}",
            "digit   " + "".join(f"{digit:>9}" for digit in range(10)),
            "count   " + "".join(f"{self.digits[digit]:>9,}" for digit in range(10)),
            _line("rejected", self.reasons),
            _line("failed", self.failures),
        ]
        return "\n".join(lines)

    def fail(self, sentence: str, count: int) -> None:
        """Counts failures; of more than a hundred sentences the rest are counted together."""
        known = sentence in self.failures or len(self.failures) < _DISTINCT
        self.failures[sentence if known else _OTHERS] += count


def summarise(batches: Iterable[Any]) -> Summary:
    """The summary of a table in batches of Arrow."""
    summary = Summary()
    for batch in batches:
        summary.rows += len(batch)
        summary.digits.update(_counts(batch.column("digit")))
        summary.reasons.update(_counts(batch.column("reason")))
        for sentence, count in _counts(batch.column("error")).items():
            summary.fail(sentence, count)
    return summary


def _counts(column: Any) -> dict[Any, int]:
    counted = pc.value_counts(column.drop_null())
    return {each["values"]: each["counts"] for each in counted.to_pylist()}


def _line(name: str, counts: Counter[str]) -> str:
    parts = [f"{count:,} × {text}" for text, count in counts.most_common(_SHOWN)]
    if len(counts) > _SHOWN:
        parts.append(f"{len(counts) - _SHOWN} more")
    return f"{name:<9}{counts.total():,}" + (f": {'; '.join(parts)}" if parts else "")
