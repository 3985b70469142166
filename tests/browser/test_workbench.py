"""The page's tab of operators in a real Chromium: what it shows is what the API answers."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.drawing import draw_digit
from tests.service.serving import DATA, Process

pytestmark = pytest.mark.browser
SEVEN = DATA / "seven.png"  # 28×28


@pytest.fixture
def bench(page: Page) -> Locator:
    """The tab, with a seven chosen and its first output shown."""
    page.locator("#tab-operators").click()
    panel = page.locator("#panel-operators")
    panel.locator("input[type=file]").set_input_files(SEVEN)
    expect(output(panel)).to_have_js_property("naturalWidth", 26)
    return panel


def output(bench: Locator) -> Locator:
    """The picture that came out."""
    return bench.get_by_role("img", name="Output")


def choose(bench: Locator, **choices: str) -> None:
    """Chooses in the controls of these names."""
    for name, choice in choices.items():
        bench.locator(f"#workbench-{name}").select_option(choice)


def fact(bench: Locator, name: str) -> Locator:
    """What is told of the output under a name."""
    return bench.locator("dt", has_text=re.compile(f"^{name}$")).locator("+ dd")


def answered(server: Process, **query: Any) -> Any:
    """The API's answer on the same picture."""
    query["format"] = "json"
    answer = httpx.post(f"{server.url}/v1/operators", params=query, content=SEVEN.read_bytes())
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"operator": "convolution", "kernel": "emboss", "stride": "2", "padding": "full"},
        {"operator": "transposed-convolution", "kernel": "box", "size": "4", "stride": "3", "show": "range"},
        {"operator": "weighted-pooling", "kernel": "gaussian", "size": "5"},
        {"operator": "max-pooling", "size": "4", "stride": "1"},
        {"operator": "tanh", "kernel": "laplacian", "show": "magnitude"},
    ],
    ids=["default", "convolution", "transposed", "weighted", "max", "tanh"],
)
def test_the_output_is_the_api_s(bench: Locator, server: Process, choices: dict[str, str]) -> None:
    """Picture, sizes, formula and cost of what was chosen are those that the API gives for it."""
    choose(bench, **choices)
    told = answered(server, **choices)
    expect(output(bench)).to_have_attribute("src", told["picture"])
    expect(bench.get_by_role("img", name="Input")).to_have_attribute("src", told["seen"])
    size = told["output"]
    expect(bench.locator("figcaption").nth(1)).to_have_text(f"Output {size['width']} × {size['height']} pixels")
    expect(fact(bench, "Width and height")).to_have_text(told["formula"]["width"])
    expect(fact(bench, "Multiply-adds")).to_have_text(f"{told['multiply_adds']:,}")
    weights = bench.locator("td input")
    expect(weights).to_have_count(len(told["kernel"]) ** 2 if told["kernel"] else 9)
    assert bench.locator("fieldset").is_visible() == (told["kernel"] is not None)


def test_a_kernel_is_written_by_hand(bench: Locator, server: Process) -> None:
    """An edited cell makes a kernel of one's own, which can also grow; the keyboard alone does it."""
    cell = bench.get_by_label("Weight in row 1, column 2")
    cell.focus()
    cell.press("ArrowDown")
    expect(bench.get_by_label("Weight in row 2, column 2")).to_be_focused()
    bench.get_by_label("Weight in row 2, column 2").press_sequentially("-0.5")
    expect(bench.locator("#workbench-kernel")).to_have_value("own")
    told = answered(server, kernel="-1,0,1;-2,-0.5,2;-1,0,1")
    expect(output(bench)).to_have_attribute("src", told["picture"])
    choose(bench, columns="4")
    told = answered(server, kernel="-1,0,1,0;-2,-0.5,2,0;-1,0,1,0")
    expect(output(bench)).to_have_attribute("src", told["picture"])
    expect(fact(bench, "Width")).to_have_text("⌊(28 − 4 + 2·0)/1⌋ + 1 = 25")
    expect(fact(bench, "Height")).to_have_text("⌊(28 − 3 + 2·0)/1⌋ + 1 = 26")


def test_pointing_at_the_output_marks_its_window(bench: Locator, page: Page) -> None:
    """The window of the input lights up where it lies, and words say which it is; the arrow keys do the same."""
    choose(bench, stride="2", padding="half")
    expect(output(bench)).to_have_js_property("naturalWidth", 14)
    before, after = (bench.locator(".view").nth(number) for number in (0, 1))
    whole, result = before.bounding_box(), after.bounding_box()
    assert whole and result
    zoom = whole["width"] / 28
    assert result["width"] / 14 == pytest.approx(zoom)
    page.mouse.move(result["x"] + 5.5 * zoom, result["y"] + 3.5 * zoom)
    words = bench.locator(".pointed")
    expect(words).to_have_text("Output column 5, row 3, counted from 0: of input columns 9 to 11 and rows 5 to 7.")
    mark = before.locator(".mark").bounding_box()
    assert mark
    expected = (whole["x"] + 9 * zoom, whole["y"] + 5 * zoom, 3 * zoom, 3 * zoom)
    assert (mark["x"], mark["y"], mark["width"], mark["height"]) == pytest.approx(expected, abs=1)
    page.mouse.move(0, 0)
    expect(before.locator(".mark")).to_be_hidden()
    after.focus()
    page.keyboard.press("ArrowRight")
    expect(words).to_contain_text(
        "Output column 0, row 0, counted from 0: of input columns −1 to 1 and rows −1 to 1, pad"
    )
    page.keyboard.press("ArrowDown")
    expect(words).to_contain_text("of input columns −1 to 1 and rows 1 to 3, padding included")


def test_what_cannot_be_done_is_said(bench: Locator) -> None:
    """By an alert that goes when it can be done again: a word as a weight, and more than that window has room for."""
    alert = bench.get_by_role("alert")
    cell = bench.get_by_label("Weight in row 1, column 1")
    cell.fill("x")
    expect(alert).to_have_text("Weight in row 1, column 1: “x” is no number")
    expect(cell).to_have_attribute("aria-invalid", "true")
    cell.fill("2")
    expect(alert).to_have_text("")
    bench.locator("input[type=file]").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"nothing"})
    expect(alert).to_contain_text("this is no picture in a format that is read here")
    bench.locator("input[type=file]").set_input_files(SEVEN)
    expect(alert).to_have_text("")


def test_the_newest_choice_wins(bench: Locator, page: Page, server: Process) -> None:
    """What was asked before is given up, and its answer does not take the place of what was chosen after it."""
    page.route("**/v1/operators?*kernel=outline*", lambda _: None)  # which is never answered
    with page.expect_request("**/v1/operators?*kernel=outline*"):
        choose(bench, kernel="outline")
    with page.expect_event("requestfailed", lambda request: "kernel=outline" in request.url):
        choose(bench, kernel="sharpen")
    expect(output(bench)).to_have_attribute("src", answered(server, kernel="sharpen")["picture"])


def test_an_address_opens_the_same_operator(bench: Locator, page: Page) -> None:
    """With its kernel, stride and padding, in a page that was never used."""
    choose(bench, operator="relu", kernel="sobel-y", stride="3", padding="full")
    bench.get_by_label("Weight in row 3, column 3").fill("1.5")
    expect(page).to_have_url(re.compile("#"))
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    for name, value in {"operator": "relu", "kernel": "own", "stride": "3", "padding": "full"}.items():
        expect(page.locator(f"#workbench-{name}")).to_have_value(value)
    expect(page.get_by_label("Weight in row 3, column 3")).to_have_value("1.5")


def test_a_phone_shows_it_all(bench: Locator, page: Page) -> None:
    """At 360 pixels of width nothing is wider than the screen, the largest kernel included."""
    page.set_viewport_size({"width": 360, "height": 740})
    choose(bench, kernel="gaussian", size="15", padding="full")
    expect(bench.locator("td input")).to_have_count(225)
    expect(output(bench)).to_have_js_property("naturalWidth", 42)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    box = bench.locator(".view").nth(1).bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 360


def test_a_drawing_is_taken_along(page: Page) -> None:
    """What was drawn is what the operator works on; a picture that is chosen there stays until another one is drawn."""
    panel = page.locator("#panel-operators")
    draw_digit(page, 7)
    page.locator("#tab-operators").click()
    expect(output(panel)).to_have_js_property("naturalWidth", 278)
    panel.locator("input[type=file]").set_input_files(SEVEN)
    expect(output(panel)).to_have_js_property("naturalWidth", 26)
    page.locator("#tab-network").click()
    page.locator("#tab-operators").click()
    expect(output(panel)).to_have_js_property("naturalWidth", 26)
    page.locator("#tab-network").click()
    page.get_by_role("button", name="a 3 of MNIST").click()
    page.locator("#tab-operators").click()
    expect(panel.get_by_role("img", name="Input")).to_have_js_property("naturalWidth", 28)
