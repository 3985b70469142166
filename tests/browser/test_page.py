"""The page in a real Chromium: draw, choose, drop, paste, photograph, clear; and nothing is loaded from elsewhere."""

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.drawing import draw, draw_digit, levels, until
from tests.browser.strokes import DIGITS
from tests.service.serving import DATA

pytestmark = pytest.mark.browser
SEVEN = DATA / "seven.png"


def assert_blank(page: Page) -> None:
    """The page is as it was at first."""
    expect(page.locator("#digit")).to_have_text("–")
    expect(page.locator("#guess")).to_have_text("")
    expect(page.locator(".rejected")).to_have_count(0)
    expect(page.locator("#value")).to_have_count(0)
    expect(page.locator("#bars li.best")).to_have_count(0)
    expect(page.locator("#panel-network [data-snippet] button:enabled")).to_have_count(0)
    levels = "(pad) => [...new Set(pad.getContext('2d').getImageData(0, 0, 280, 280).data)]"
    assert page.locator("#pad").evaluate(levels) == [255]


@pytest.mark.parametrize("digit", DIGITS)
def test_a_drawn_digit_is_read(page: Page, digit: int) -> None:
    """The mouse draws, and without a button the answer, its probabilities and what the network saw appear."""
    draw_digit(page, digit)
    expect(page.locator("#bars li")).to_have_count(10)
    expect(page.locator("#bars li.best")).to_have_count(1)
    expect(page.locator("#bars li.best")).to_contain_text(str(digit))
    expect(page.locator("#seen")).to_have_attribute("aria-label", f"What the network saw, and read as {digit}")
    expect(page.locator("#problem")).to_have_text("")


def test_more_ink_changes_the_answer_and_undo_takes_it_back(page: Page) -> None:
    """A stroke added to a one makes a seven; without it all is what it was, and without any stroke blank."""
    draw(page, [((0.72, 0.22), (0.45, 0.85))])
    expect(page.locator("#digit")).to_have_text("1")
    image = page.locator("[data-layer=image] canvas")
    before = levels(image)
    draw(page, [((0.28, 0.22), (0.72, 0.22))])
    expect(page.locator("#digit")).to_have_text("7")
    until(lambda: levels(image) != before)
    page.locator("#undo").click()
    until(lambda: levels(image) == before)
    page.locator("#undo").click()
    assert_blank(page)
    expect(page.locator("#undo")).to_be_disabled()


def test_the_pen_has_a_thickness(page: Page) -> None:
    """The same stroke leaves more ink with a thicker pen."""
    ink = """(pad) => pad.getContext('2d').getImageData(0, 0, 280, 280).data
        .filter((level, place) => place % 4 === 0 && level < 128).length"""
    amounts = []
    for thickness in ("10", "30"):
        page.locator("#clear").click()
        page.locator("#thickness").fill(thickness)
        draw(page, [((0.5, 0.2), (0.5, 0.8))])
        amounts.append(page.locator("#pad").evaluate(ink))
    assert 2.5 < amounts[1] / amounts[0] < 3.5


def test_a_sample_is_taken(page: Page) -> None:
    """Each digit of MNIST that is offered is read as what it is said to be."""
    for digit in range(10):
        page.get_by_role("button", name=f"a {digit} of MNIST").click()
        expect(page.locator("#digit")).to_have_text(str(digit))


def test_a_pasted_picture_is_read(page: Page) -> None:
    """A picture from the clipboard is read like a chosen one."""
    page.evaluate(
        "(bytes) => { const clipboardData = new DataTransfer();"
        " clipboardData.items.add(new File([new Uint8Array(bytes)], 'seven.png', { type: 'image/png' }));"
        " document.dispatchEvent(new ClipboardEvent('paste', { clipboardData })); }",
        list(SEVEN.read_bytes()),
    )
    expect(page.locator("#digit")).to_have_text("7")


def test_the_camera_takes_a_picture(page: Page) -> None:
    """What the camera shows when the button is pressed is answered, though a test picture is no digit."""
    page.locator("#camera").click()
    until(lambda: page.locator("#finder").evaluate("(video) => video.videoWidth") > 0)
    page.locator("#shoot").click()
    expect(page.locator("#shutter")).to_be_hidden()
    expect(page.locator("#digit")).not_to_have_text("–")
    assert page.locator("#finder").evaluate("(video) => video.srcObject") is None


def test_a_chosen_file_is_read(page: Page) -> None:
    """A picture from disk is shown on the pad and read, also the same one a second time."""
    for _ in range(2):
        page.locator("#file").set_input_files(SEVEN)
        expect(page.locator("#digit")).to_have_text("7")
        expect(page.locator("#value")).to_be_visible()
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
    expect(page.locator("#value")).to_be_visible()


def test_clear_resets_everything(page: Page) -> None:
    """After Clear nothing of a drawing is left, no late answer brings it back, and one can draw again."""
    draw_digit(page, 7)
    page.locator("#clear").click()
    assert_blank(page)
    draw(page, [((0.5, 0.2), (0.5, 0.8))])
    page.locator("#clear").click()
    page.wait_for_timeout(400)
    assert_blank(page)
    draw_digit(page, 7)


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


def test_the_model_is_told(page: Page) -> None:
    """The Model tab has what serves, each layer with its formula, and the card with its figures and pictures."""
    page.get_by_role("tab", name="Model").click()
    panel = page.locator("#panel-model")
    running = page.request.get("/v1/model").json()["running"]
    expect(panel.locator("dd", has_text=running["sha256"])).to_be_visible()
    expect(panel.locator("tr", has_text="conv2").first).to_contain_text("⌊(14 − 5 + 2·2)/1⌋ + 1 = 14")
    for heading in ("Protocol", "Seeds", "Robustness", "Calibration", "Limits"):
        expect(panel.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    for picture in panel.locator("img").all():
        picture.scroll_into_view_if_needed()
        until(lambda picture=picture: picture.evaluate("(image) => image.naturalWidth") > 100)  # type: ignore[misc]


def test_a_service_that_cannot_be_asked_is_said(context: BrowserContext) -> None:
    """Where the page's first questions fail, it says so instead of standing there empty."""
    page = context.new_page()
    page.route("**/v1/model/layers", lambda route: route.fulfill(status=502, body="<html>"))
    page.goto("/")
    expect(page.locator("#problem")).to_have_text("The service cannot be asked: the service answered 502")


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
    expect(page.locator("#seen")).to_have_attribute("aria-label", "What the network saw: blank")
    expect(page.locator("#bars li.best")).to_have_count(1)
    expect(page.locator("#problem")).to_have_text("")
    page.locator("#clear").click()
    assert_blank(page)
    draw_digit(page, 7)
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
