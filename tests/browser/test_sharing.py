"""What leaves the page: an address that opens the same view, and commands that ask what the page asked."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.drawing import draw_digit, levels, until
from tests.service.serving import DATA

pytestmark = pytest.mark.browser


def test_an_address_opens_the_same_drawing_and_view(page: Page) -> None:
    """In a page that was never drawn on: the same strokes, answer, place, colours, attribution and tab."""
    draw_digit(page, 4)
    page.locator("#layer").select_option("pool2")
    page.locator("#channel").fill("7")
    page.locator("#row").fill("3")
    page.locator("#colours").select_option("grey")
    page.locator("#method").select_option("saliency")
    expect(page.locator("#attribution-note")).to_contain_text("For 4.")
    value = page.locator("#value").inner_text()
    drawn = levels(page.locator("#pad"))
    page.locator("#link").click()
    expect(page.locator("#status")).to_contain_text("Copied")
    address = page.evaluate("navigator.clipboard.readText()")
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#digit")).to_have_text("4")
    assert levels(page.locator("#pad")) == drawn
    for field, expected in (
        ("layer", "pool2"),
        ("channel", "7"),
        ("row", "3"),
        ("colours", "grey"),
        ("method", "saliency"),
    ):
        expect(page.locator(f"#{field}")).to_have_value(expected)
    expect(page.locator("#value")).to_have_text(value)
    expect(page.locator("#attribution-note")).to_contain_text("For 4.")
    page.get_by_role("tab", name="Model").click()
    address = written_address(page)
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#panel-model")).to_be_visible()
    expect(page.locator("#panel-network")).to_be_hidden()


def written_address(page: Page) -> str:
    """The page's address, once it holds what is shown."""
    page.wait_for_timeout(600)
    return page.url


def test_an_address_holds_a_picture(page: Page, tmp_path: Path) -> None:
    """A small one whole, with why it is rejected; of a large one what was seen, with the same probabilities."""
    large = tmp_path / "large.png"
    Image.effect_noise((300, 300), 20).save(large)
    several = tmp_path / "several.png"
    seven = Image.open(DATA / "seven.png").convert("L")
    both = Image.new("L", (80, 28), seven.getpixel((0, 0)))
    both.paste(seven, (4, 0))
    both.paste(seven, (46, 0))
    both.save(several)
    assert several.stat().st_size < 6000 < large.stat().st_size
    for picture, said in ((several, "several digits"), (large, None)):
        page.locator("#file").set_input_files(picture)
        if said:
            expect(page.locator("#digit")).to_have_text(said)
        page.wait_for_timeout(800)
        bars, seen = page.locator("#bars").inner_text(), levels(page.locator("#seen"))
        address = written_address(page)
        page.goto("about:blank")
        page.goto(address)
        until(lambda bars=bars: page.locator("#bars").inner_text() == bars)  # type: ignore[misc]
        assert levels(page.locator("#seen")) == seen
        if said:
            expect(page.locator("#digit")).to_have_text(said)


def test_an_address_that_is_pasted_into_an_open_page_opens(page: Page) -> None:
    """The browser loads nothing then, and the page takes the view over."""
    draw_digit(page, 4)
    address = written_address(page)
    page.locator("#clear").click()
    draw_digit(page, 7)
    written_address(page)
    page.goto(address)
    expect(page.locator("#digit")).to_have_text("4")


def test_a_page_that_is_just_opened_keeps_its_address(page: Page) -> None:
    """A digit is shown to begin with, which is no view of anybody's."""
    expect(page.locator("#digit")).to_have_text("3")
    assert "#" not in written_address(page)


@pytest.mark.parametrize(
    "address",
    [
        "#view=",
        "#view=%00",
        "#view=bnVsbA",  # null
        "#view=WzFd",  # [1]
        "#view=eyJwaWN0dXJlIjoieCEifQ",  # {"picture":"x!"}
        "#view=eyJzdHJva2VzIjpbWyJ4Il1dLCJ0YWIiOiJub25lIiwicGxhY2UiOnsibGF5ZXIiOiJjb252MSIsImNoYW5uZWwiOjk5fX0",
    ],
)
def test_a_broken_address_opens_the_page(visit: Page, address: str) -> None:
    """Cut, made up or out of range: the page is there, and can be drawn on."""
    visit.goto(f"/{address}")
    visit.wait_for_selector("#samples button")
    draw_digit(visit, 7)


def copied(page: Page, snippet: str, kind: str) -> str:
    """The text that a button copies."""
    page.locator(f"[data-snippet={snippet}]").get_by_role("button", name=f"Copy as {kind}").click()
    expect(page.locator("#status")).to_have_text(f"Copied as {kind}.")
    return str(page.evaluate("navigator.clipboard.readText()"))


def run(kind: str, text: str) -> Any:
    """What a command prints when it is pasted into a shell, or into a file of Python."""
    command = [sys.executable, "-c", text] if kind == "Python" else ["bash", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 — the page's own text
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["curl", "Python"])
def test_what_is_copied_works_when_pasted(page: Page, kind: str) -> None:
    """Of every view: the answers are about the digit, the place and the method that the page shows."""
    if kind == "curl" and not shutil.which("curl"):
        pytest.skip("there is no curl")
    draw_digit(page, 7)
    page.locator("#layer").select_option("conv2")
    page.locator("#channel").fill("5")
    page.locator("#row").fill("6")
    page.locator("#column").fill("4")
    page.locator("#method").select_option("gradcam")
    expect(page.locator("#attribution-note")).to_contain_text("For 7.")
    expect(page.locator("#neighbours img")).to_have_count(10)
    page.locator("#silence").click()
    expect(page.locator("#silence-note")).not_to_have_text("")
    answers = {
        name: run(kind, copied(page, name, kind))
        for name in ("predict", "features", "trace", "attribution", "neighbours", "ablate", "exemplars")
    }
    assert len(answers["exemplars"]["exemplars"]) == 9
    assert answers["predict"]["predictions"][0]["digit"] == 7
    assert len(answers["features"]["layers"]) == 8
    trace = answers["trace"]
    assert [trace[name] for name in ("layer", "channel", "y", "x")] == ["conv2", 5, 6, 4]
    assert page.locator("#value").inner_text() == f"{trace['value']:.3f}".replace("-", "−")
    assert (answers["attribution"]["method"], answers["attribution"]["digit"]) == ("gradcam", 7)
    assert len(answers["neighbours"]["neighbours"]) == 10
    assert answers["ablate"]["layer"] == "conv2"
    page.get_by_role("tab", name="Model").click()
    assert run(kind, copied(page, "model", kind))["manifest"]["name"] == "digits"
    page.get_by_role("tab", name="Operators").click()
    expect(page.get_by_role("img", name="Output")).to_be_visible()
    operated = run(kind, copied(page, "operators", kind))
    assert operated["operator"] == "cross-correlation" and operated["output"] == {"width": 278, "height": 278}


def test_where_the_clipboard_is_closed_the_command_is_shown(page: Page) -> None:
    """A page that may not copy shows what it would have copied, line by line, to be copied by hand."""
    draw_digit(page, 7)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('closed')); }")
    page.locator("[data-snippet=predict]").get_by_role("button", name="Copy as curl").click()
    text = page.locator("#copy-text").input_value()
    assert text.count("\n") == 3
    assert run("curl", text)["predictions"][0]["digit"] == 7
    page.locator("#copied").click()
    expect(page.locator("#copy")).to_be_hidden()


def test_a_prediction_is_copied_as_it_was_asked(page: Page, tmp_path: Path) -> None:
    """The command has the picture itself, so that its answer is rejected for the very reason that the page tells."""
    blank = tmp_path / "blank.png"
    Image.new("L", (40, 40), 255).save(blank)
    page.locator("#file").set_input_files(blank)
    expect(page.locator("#digit")).to_have_text("blank")
    assert run("curl", copied(page, "predict", "curl"))["predictions"][0]["reason"] == "blank"
