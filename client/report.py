"""A page of its own about a run: what it came to, and a contact sheet of the answers that are least certain."""

import base64
import heapq
import io
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from client.errors import InputError
from client.inputs.item import Content, Item
from client.outputs.columns import as_text
from client.outputs.formats import unfinished_of
from client.prediction import SIDE
from client.summary import Summary

_SHOWN = 60
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # those that the service reads
_LARGEST = 4096 * 4096  # pixels of a picture that is shown
_SIDE = 112  # pixels of what is shown of it
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ccc; }
.said { text-align: left; }
ul { list-style: none; padding: 0; display: grid; gap: 1rem; }
ul { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
li { font-size: .85rem; overflow-wrap: anywhere; } li b { font-size: 1.2rem; }
img, li i { display: block; width: 7rem; height: 7rem; object-fit: contain; background: #eee; }
img { image-rendering: pixelated; }
"""


class _Doubtful(NamedTuple):
    """An answer that is shown, with the place of its row."""

    confidence: float
    place: int
    name: str
    digit: int
    reason: str | None


def write_report(path: Path, summary: Summary, batches: Iterable[Any], items: Iterator[Item], told: str) -> None:
    """Writes the page in one step; `batches` are the table's, and `items` its inputs from the first on.

    Raises:
        OSError: the folder cannot be written to.
    """
    doubtful = _least_certain(batches)
    shown = _pictures(items, {each.place: each.name for each in doubtful})
    cards = "".join(_card(each, shown.get(each.place)) for each in doubtful)
    digits = "".join(f"<td>{summary.digits[digit]:,}</td>" for digit in range(10))
    failures = "".join(
        f'<tr><td>{count:,}</td><td class="said">{escape(text)}</td></tr>' for text, count in summary.failures.items()
    )
    reasons = ", ".join(f"{count:,} {escape(reason)}" for reason, count in summary.reasons.most_common()) or "none"
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Digits: {escape(path.stem)}</title><style>{_STYLE}</style>
<h1>{summary.rows:,} inputs</h1><p>{escape(told)}</p>
<table><tr>{"".join(f"<th>{digit}</th>" for digit in range(10))}</tr><tr>{digits}</tr></table>
<p>Rejected: {reasons}.</p>
<h2>Failed: {summary.failed:,}</h2><table>{failures}</table>
<h2>Least certain</h2><ul>{cards}</ul></html>
"""
    unfinished = unfinished_of(path)
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(path)


def _least_certain(batches: Iterable[Any]) -> list[_Doubtful]:
    def answers() -> Iterator[_Doubtful]:
        place = 0
        for batch in batches:
            rows = batch.select(["confidence", "input", "digit", "reason"]).to_pydict()
            for confidence, name, digit, reason in zip(*rows.values(), strict=True):
                if digit is not None:
                    yield _Doubtful(confidence, place, name, digit, reason)
                place += 1

    return heapq.nsmallest(_SHOWN, answers(), key=lambda each: each[:2])


def _pictures(items: Iterator[Item], places: dict[int, str]) -> dict[int, str]:
    """Small pictures of the items at these places, as data URLs, of those that can be had again by the same names."""
    found = {}
    last = max(places, default=-1)
    for place, item in enumerate(items):
        if places.get(place) == as_text(item.name):
            try:
                found[place] = _small(item.load())
            except (InputError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue  # Pillow's decoders raise these of what is damaged
        if place >= last:
            break
    return found


def _small(content: Content) -> str:
    if content.kind == "digit":
        picture = Image.frombytes("L", (SIDE, SIDE), content.data)
    else:
        picture = Image.open(io.BytesIO(content.data), formats=_FORMATS)
        if picture.width * picture.height > _LARGEST:
            raise ValueError
        picture.thumbnail((_SIDE, _SIDE))
        picture = picture.convert("RGBA")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _card(each: _Doubtful, picture: str | None) -> str:
    image = "<i></i>" if picture is None else f'<img src="{picture}" alt="">'
    reason = "" if each.reason is None else f", {escape(each.reason)}"
    return f"<li>{image}<b>{each.digit}</b> {each.confidence:.1%}{reason}<br>{escape(each.name)}</li>"
