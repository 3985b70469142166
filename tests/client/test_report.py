"""The summary, and the page about a run."""

import re
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from client.inputs.item import Content, Item, broken
from client.outputs.columns import Columns
from client.prediction import Model, Prediction, Row
from client.report import write_report
from client.summary import summarise
from tests.service.pictures import encode

COLUMNS = Columns(Model("digits", "2", "abc", {}))


def rows(count: int) -> list[Row]:
    """Rows of rising confidence; one in ten failed, one in five is rejected."""
    return [
        Row(f"<b>{number}</b>", None, "it is <empty>" if number % 20 else "it is large")
        if number % 10 == 0
        else Row(
            f"<b>{number}</b>",
            Prediction(number % 10, number / count, number % 5 == 1, "blank" if number % 5 == 1 else None, ()),
        )
        for number in range(count)
    ]


def test_the_summary_counts_everything() -> None:
    """Digits, reasons and failures over several batches, as counting by hand has them."""
    summary = summarise([COLUMNS.batch(rows(1000)[start : start + 300]) for start in range(0, 1000, 300)])
    assert summary.rows == 1000 and summary.failed == 100
    assert dict(summary.digits) == dict.fromkeys(range(1, 10), 100)
    assert summary.reasons == {"blank": 200} and summary.failures == {"it is <empty>": 50, "it is large": 50}
    text = summary.text(asked=900, seconds=3.0)
    assert text.startswith("900 inputs in 3.0 s, 300 a second, and 100 were there before\n")
    assert "rejected 200: 200 × blank" in text and "failed   100: 50 × it is large; 50 × it is <empty>" in text


def test_sentences_without_end_are_not_all_kept() -> None:
    """A million failures, each with a sentence of its own, take no more memory than a hundred."""
    failures = [Row("x", None, f"error {number}") for number in range(1000)]
    summary = summarise([COLUMNS.batch(failures[:500]), COLUMNS.batch(failures[500:])])
    assert summary.failed == 1000 and len(summary.failures) == 101 and summary.failures["other sentences"] == 900


def items(count: int, loaded: list[int]) -> Iterator[Item]:
    """The inputs of the rows: pictures, prepared digits, and some that are no more."""

    def load(number: int) -> Content:
        loaded.append(number)
        if number % 2:
            return Content("digit", np.full(784, number % 256, np.uint8).tobytes())
        return Content("picture", encode(np.full((300, 200), 7, np.uint8)) if number % 4 else b"no picture")

    for number in range(count):
        yield broken("gone", "it is gone") if number == 3 else Item(f"<b>{number}</b>", partial(load, number))


class _Page(HTMLParser):
    """The pictures and the addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [text or "" for name, text in attributes if name in {"src", "href"}]


def test_the_page_shows_the_least_certain(tmp_path: Path) -> None:
    """Sixty answers in rising confidence, with those pictures that can be had; no other input is read again."""
    batches = [COLUMNS.batch(rows(1000)[start : start + 300]) for start in range(0, 1000, 300)]
    loaded: list[int] = []
    write_report(tmp_path / "x.html", summarise(batches), batches, items(1000, loaded), "told & said")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    names = [int(number) for number in re.findall(r"&lt;b&gt;(\d+)&lt;/b&gt;", text)]
    assert names == [number for number in range(67) if number % 10][:60]
    assert loaded == [number for number in names if number != 3]
    assert page.tags.count("li") == 60 and page.tags.count("img") == len([n for n in loaded if n % 4])
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)  # it needs nothing else
    assert "told &amp; said" in text and "it is &lt;empty&gt;" in text and "script" not in page.tags


def test_no_other_picture_is_shown_under_a_name(tmp_path: Path) -> None:
    """Where inputs have changed since they were read, each card whose input is another now has no picture."""
    batches = [COLUMNS.batch(rows(20))]
    loaded: list[int] = []
    later = items(25, loaded)
    for _ in range(5):
        next(later)
    write_report(tmp_path / "x.html", summarise(batches), batches, later, "")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert text.count("<li>") == 18 and "<img" not in text and not loaded


def test_a_run_of_nothing_has_a_page(tmp_path: Path) -> None:
    """No inputs at all make a page that says so."""
    write_report(tmp_path / "x.html", summarise([]), [], iter(()), "nothing")
    assert "0 inputs" in (tmp_path / "x.html").read_text(encoding="utf-8")
