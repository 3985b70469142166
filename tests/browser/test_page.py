"""The page in a real Chromium: draw, choose, drop, look inside, clear; and nothing is loaded from elsewhere."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from tests.service.serving import DATA, Process

pytestmark = pytest.mark.browser
SEVEN = DATA / "seven.png"
_FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, from CHROMIUM or the path."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert executable, "no Chromium is installed; CHROMIUM may name one"
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, server: Process) -> Iterator[Page]:
    """A fresh page of the service, whose console has to show no error and whose requests have to stay with the service.

    The browser notes a refused picture as an error too, which it is not.
    """
    context = browser.new_context(base_url=server.url, service_workers="block")
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert [text for text in said if "status of 415" not in text] == []
    assert asked and all(url.startswith((f"{server.url}/", "data:", "blob:")) for url in asked), asked


@pytest.fixture
def page(visit: Page) -> Page:
    """The page itself, with its layers listed."""
    visit.goto("/")
    expect(visit.locator("#layer option")).to_have_text(
        ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "fc1_relu"]
    )
    return visit


def draw(page: Page, *points: tuple[float, float]) -> None:
    """One stroke of the mouse on the pad, through points in parts of its width and height."""
    box = page.locator("#pad").bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=12)
    page.mouse.up()


def draw_seven(page: Page) -> None:
    """A seven as people write it."""
    draw(page, (0.28, 0.22), (0.72, 0.22), (0.45, 0.85))
    expect(page.locator("#digit")).to_have_text("7")


def expect_size(picture: Locator, width: int, height: int) -> None:
    """A picture is loaded, and has that many pixels."""
    expect(picture).to_have_js_property("naturalWidth", width)
    expect(picture).to_have_js_property("naturalHeight", height)


def assert_blank(page: Page) -> None:
    """The page is as it was at first."""
    expect(page.locator("#digit")).to_have_text("–")
    expect(page.locator("#guess")).to_have_text("")
    expect(page.locator(".rejected")).to_have_count(0)
    expect(page.locator("#maps")).to_be_hidden()
    expect(page.locator("#bars li.best")).to_have_count(0)
    levels = "(pad) => [...new Set(pad.getContext('2d').getImageData(0, 0, 280, 280).data)]"
    assert page.locator("#pad").evaluate(levels) == [255]


def test_a_drawn_seven_is_read(page: Page) -> None:
    """The mouse draws, and without a button the answer, its probabilities and what the network saw appear."""
    draw_seven(page)
    expect(page.locator("#bars li")).to_have_count(10)
    expect(page.locator("#bars li.best")).to_have_count(1)
    expect(page.locator("#bars li.best")).to_contain_text("7")
    expect(page.locator("#seen")).to_have_attribute("alt", "What the network saw, and read as 7")
    expect_size(page.locator("#seen"), 28, 28)
    expect(page.locator("#problem")).to_have_text("")


def test_feature_maps_are_shown_and_chosen(page: Page) -> None:
    """The maps of the first layer appear with the answer; another layer and another span give another picture."""
    draw_seven(page)
    maps = page.locator("#maps")
    expect(maps).to_be_visible()
    expect(maps).to_have_attribute("alt", "Feature maps of conv1")
    expect_size(maps, 760, 182)  # 8 maps in a row
    page.locator("#layer").select_option("pool2")
    expect(maps).to_have_attribute("alt", "Feature maps of pool2")
    expect_size(maps, 760, 500)  # 32 maps in four rows
    before = maps.get_attribute("src")
    assert before
    page.locator("#scale").select_option("map")
    expect(maps).not_to_have_attribute("src", before)
    expect_size(maps, 760, 500)


def test_more_ink_changes_the_answer(page: Page) -> None:
    """A stroke added to a one makes a seven of it, and what the network saw is the newest drawing."""
    draw(page, (0.72, 0.22), (0.45, 0.85))
    seen = page.locator("#seen")
    expect(page.locator("#bars li.best")).to_have_count(1)
    before = seen.get_attribute("src")
    assert before
    draw(page, (0.28, 0.22), (0.72, 0.22))
    expect(seen).not_to_have_attribute("src", before)
    expect(page.locator("#digit")).to_have_text("7")


def test_a_chosen_file_is_read(page: Page) -> None:
    """A picture from disk is shown on the pad and read, also the same one a second time."""
    for _ in range(2):
        page.locator("#file").set_input_files(SEVEN)
        expect(page.locator("#digit")).to_have_text("7")
        expect(page.locator("#maps")).to_be_visible()
        page.locator("#clear").click()
        assert_blank(page)


def test_a_dropped_file_is_read(page: Page) -> None:
    """A picture that is dropped onto the pad is read like a chosen one."""
    transfer = page.evaluate_handle(
        "(bytes) => { const t = new DataTransfer();"
        " t.items.add(new File([new Uint8Array(bytes)], 'seven.png', { type: 'image/png' })); return t; }",
        list(SEVEN.read_bytes()),
    )
    page.dispatch_event("#pad", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#pad", "drop", {"dataTransfer": transfer})
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.locator("#maps")).to_be_visible()


def test_clear_resets_everything(page: Page) -> None:
    """After Clear nothing of a drawing is left, no late answer brings it back, and one can draw again."""
    draw_seven(page)
    page.locator("#clear").click()
    assert_blank(page)
    draw(page, (0.5, 0.2), (0.5, 0.8))
    page.locator("#clear").click()
    page.wait_for_timeout(400)
    assert_blank(page)
    draw_seven(page)


def test_what_is_no_picture_is_said(visit: Page, tmp_path: Path) -> None:
    """A text file gets the service's own sentence, and the next picture is read."""
    visit.goto("/")
    text = tmp_path / "digit.png"
    text.write_text("seven")
    with visit.expect_response(lambda answer: answer.status == 415):
        visit.locator("#file").set_input_files(text)
    expect(visit.locator("#problem")).to_have_text(
        "this is no picture in a format that is read here (PNG, JPEG, WEBP, BMP, GIF, TIFF)"
    )
    expect(visit.locator("#digit")).to_have_text("–")
    visit.locator("#file").set_input_files(SEVEN)
    expect(visit.locator("#digit")).to_have_text("7")
    expect(visit.locator("#problem")).to_have_text("")


def test_the_reference_shows_every_operation(visit: Page) -> None:
    """Swagger UI draws the service's own document, with nothing from elsewhere."""
    document = visit.request.get("/openapi.json").json()
    visit.goto("/docs")
    paths = visit.locator(".opblock-summary-path")
    expect(paths).to_have_count(sum(len(methods) for methods in document["paths"].values()), timeout=20_000)
    shown = {text.replace("\u200b", "") for text in paths.all_inner_texts()}
    assert {"/v1/predict", "/v1/features", "/v1/model", "/metrics", "/v2/models/{model}/infer"} <= shown
    visit.locator(".opblock-summary", has_text="/v1/predict").click()
    expect(visit.locator(".opblock-description").first).to_contain_text("Recognises the digit in each picture.")


REASONS = {"blank": "blank", "several": "several digits", "not_a_digit": "not a digit", "ambiguous": "ambiguous"}


def test_a_blank_picture_is_said_to_be_blank(page: Page, tmp_path: Path) -> None:
    """Not its best guess stands there in large but that there is nothing, until a digit is drawn."""
    blank = tmp_path / "blank.png"
    Image.new("L", (100, 100), 255).save(blank)
    page.locator("#file").set_input_files(blank)
    expect(page.locator("#digit")).to_have_text("blank")
    expect(page.locator("#guess")).to_have_text(re.compile(r"^best guess: \d$"))
    expect(page.locator("#seen")).to_have_attribute("alt", "What the network saw: blank")
    expect(page.locator("#bars li.best")).to_have_count(1)
    expect(page.locator("#problem")).to_have_text("")
    page.locator("#clear").click()
    assert_blank(page)
    draw_seven(page)
    expect(page.locator("#guess")).to_have_text("")


@pytest.mark.parametrize("reason", REASONS)
def test_why_an_answer_is_rejected_is_said_in_words(page: Page, reason: str) -> None:
    """Whatever the reason, in large, and smaller the best guess; the next answer that is not rejected is the digit."""

    def rejecting(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["predictions"][0] |= {"rejected": True, "reason": reason}
        route.fulfill(response=answer, json=body)

    page.route("**/v1/predict*", rejecting)
    page.locator("#file").set_input_files(SEVEN)
    digit, guess = page.locator("#digit"), page.locator("#guess")
    expect(digit).to_have_text(REASONS[reason])
    expect(guess).to_have_text("best guess: 7")
    sizes = [float(place.evaluate("(e) => parseFloat(getComputedStyle(e).fontSize)")) for place in (digit, guess)]
    assert sizes[0] > 2 * sizes[1]
    assert digit.evaluate("(e) => e.scrollWidth <= e.clientWidth + 1"), "the words have room"
    page.unroute("**/v1/predict*")
    page.locator("#file").set_input_files(SEVEN)
    expect(digit).to_have_text("7")
    expect(guess).to_have_text("")
    page.locator("#clear").click()
    assert_blank(page)
