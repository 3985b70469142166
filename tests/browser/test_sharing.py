"""What leaves the page: an address that opens the same view, and commands that ask what the page asked."""

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

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
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#panel-model")).to_be_visible()
    expect(page.locator("#panel-network")).to_be_hidden()


def test_an_address_holds_what_was_seen_of_a_picture(page: Page) -> None:
    """A photograph's address has its 28×28, which is answered with the same probabilities."""
    page.locator("#file").set_input_files(DATA / "seven.png")
    expect(page.locator("#digit")).to_have_text("7")
    bars = page.locator("#bars").inner_text()
    seen = levels(page.locator("#seen"))
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#digit")).to_have_text("7")
    until(lambda: levels(page.locator("#seen")) == seen)
    assert page.locator("#bars").inner_text() == bars


@pytest.mark.parametrize(
    "address",
    [
        "#view=",
        "#view=%00",
        "#view=bnVsbA",  # null
        "#view=WzFd",  # [1]
        "#view=eyJzZWVuIjoieCEifQ",  # {"seen":"x!"}
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
        for name in ("predict", "features", "trace", "attribution", "neighbours", "ablate")
    }
    assert answers["predict"]["predictions"][0]["digit"] == 7
    assert len(answers["features"]["layers"]) == 8
    trace = answers["trace"]
    assert [trace[name] for name in ("layer", "channel", "y", "x")] == ["conv2", 5, 6, 4]
    assert page.locator("#value").inner_text() == f"{trace['value']:.3f}".replace("-", "−")
    assert (answers["attribution"]["method"], answers["attribution"]["digit"]) == ("gradcam", 7)
    assert len(answers["neighbours"]["neighbours"]) == 10
    assert answers["ablate"]["layer"] == "conv2"
    page.get_by_role("tab", name="Operators").click()
    expect(page.get_by_role("img", name="Output")).to_be_visible()
    operated = run(kind, copied(page, "operators", kind))
    assert operated["operator"] == "cross-correlation" and operated["output"] == {"width": 278, "height": 278}


def test_where_the_clipboard_is_closed_the_command_is_shown(browser: Browser, page: Page) -> None:
    """A page that may not copy shows what it would have copied, to be copied by hand."""
    del browser
    draw_digit(page, 7)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('closed')); }")
    shown: list[str] = []

    def answer(dialog: Any) -> None:
        shown.append(dialog.default_value)
        dialog.dismiss()

    page.on("dialog", answer)
    page.locator("[data-snippet=predict]").get_by_role("button", name="Copy as curl").click()
    until(lambda: bool(shown))
    assert shown[0].startswith("base64 -d") and "/v1/predict" in shown[0]
