"""The page for everybody: by keyboard, by screen reader, on a phone, in the dark."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.drawing import draw_digit, levels, until

pytestmark = pytest.mark.browser
TABS = ("Network", "Operators", "Model")


def findings(page: Page) -> list[Any]:
    """What axe-core finds serious or critical."""
    violations = Axe().run(page).response["violations"]
    return [
        (finding["id"], [node["html"] for node in finding["nodes"]])
        for finding in violations
        if finding["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 360])
def test_axe_finds_nothing_serious(page: Page, scheme: Any, width: int) -> None:
    """On each tab, empty and with a digit, a kept place, an attribution and a silenced map: contrast, labels, roles."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert findings(page) == []
    draw_digit(page, 7)
    page.locator("#layer").select_option("conv2")
    page.locator("#method").select_option("contributions")
    page.locator("#silence").click()
    expect(page.locator("#attribution-note")).to_contain_text("For 7.")
    expect(page.locator("#silence-note")).not_to_have_text("")
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        assert findings(page) == [], tab


@pytest.mark.parametrize("width", [360, 768, 1024, 1440, 1920])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    """From a phone to a wide screen, no tab has to be moved sideways, and the network's maps fit their places."""
    page.set_viewport_size({"width": width, "height": 800})
    draw_digit(page, 7)
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
    page.get_by_role("tab", name="Network").click()
    for maps in page.locator("#network canvas").all():
        assert maps.evaluate("(canvas) => canvas.offsetWidth <= canvas.parentElement.clientWidth")


def test_all_can_be_done_by_keyboard(page: Page) -> None:
    """Without a mouse: take a digit, choose a place, silence a map, choose an attribution, go from tab to tab."""

    def tab_to(selector: str) -> None:
        """Presses Tab until something has the focus, and it is seen to have it."""
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.locator(selector).evaluate("(part) => part === document.activeElement"):
                outline = page.locator(selector).evaluate("(part) => getComputedStyle(part).outlineStyle")
                assert outline != "none", "what has the focus has to show it"
                return
        raise AssertionError(f"{selector} cannot be reached")

    tab_to("#samples button:nth-child(4)")
    page.keyboard.press("Enter")
    expect(page.locator("#digit")).to_have_text("3")
    tab_to("#method")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#attribution-note")).to_contain_text("For 3.")
    tab_to("#layer")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#layer")).to_have_value("relu1")
    tab_to("#channel")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#channel")).to_have_value("1")
    expect(page.locator("#channel-view canvas")).to_have_attribute("aria-label", "relu1, map 1, enlarged")
    tab_to("#silence")
    page.keyboard.press("Space")
    expect(page.locator("#silence-note")).to_contain_text("With relu1 1 at zero")
    tab_to("#tab-network")
    for key, panel in (
        ("ArrowRight", "operators"),
        ("ArrowRight", "model"),
        ("ArrowRight", "network"),
        ("ArrowLeft", "model"),
    ):
        page.keyboard.press(key)
        expect(page.locator(f"#panel-{panel}")).to_be_visible()
        expect(page.locator(f"#tab-{panel}")).to_be_focused()


def test_the_theme_is_the_systems_until_it_is_chosen(page: Page) -> None:
    """Dark where the system is dark; the button changes it, and it stays so when the page is opened again."""
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    assert dark != light
    page.locator("#theme").click()
    assert page.evaluate(paper) == dark
    page.reload()
    until(lambda: page.evaluate(paper) == dark)
    expect(page.locator("#theme")).to_have_text("Light")
    page.locator("#theme").click()
    assert page.evaluate(paper) == light


def test_nothing_jumps_while_numbers_change(page: Page) -> None:
    """Cards and headings keep their places from one digit to another, and from one value to another of other layers."""
    draw_digit(page, 7)
    page.locator("#method").select_option("occlusion")
    expect(page.locator("#attribution-note")).to_contain_text("For 7.")
    places = """() => [...document.querySelectorAll('#panel-network section, #panel-network h3, #network canvas')]
        .map((part) => part.getBoundingClientRect().top + scrollY)"""
    before = page.evaluate(places)
    assert len(before) > 15
    for digit in (1, 8):
        page.get_by_role("button", name=f"a {digit} of MNIST").click()
        expect(page.locator("#attribution-note")).to_contain_text(f"For {digit}.")
        assert page.evaluate(places) == before
    for layer in ("relu1", "pool1", "conv2", "fc1", "logits"):
        page.locator("#layer").select_option(layer)
        expect(page.locator("#readout")).to_contain_text(layer)
        page.wait_for_timeout(300)  # the digits that excite it
        assert page.evaluate(places) == before, layer


def test_a_finger_draws(page: Page) -> None:
    """Touches draw as the mouse does, and do not move the page."""
    page.evaluate(
        """() => {
            const pad = document.querySelector('#pad');
            const box = pad.getBoundingClientRect();
            const send = (type, x, y) => pad.dispatchEvent(new PointerEvent(type, { pointerId: 1, pointerType: 'touch',
                isPrimary: true, bubbles: true,
                clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
            pad.setPointerCapture = () => {};
            send('pointerdown', 0.28, 0.22);
            send('pointermove', 0.72, 0.22);
            send('pointermove', 0.45, 0.85);
            send('pointerup', 0.45, 0.85);
        }"""
    )
    expect(page.locator("#digit")).to_have_text("7")
    assert page.locator("#pad").evaluate("(pad) => getComputedStyle(pad).touchAction") == "none"


def test_a_second_finger_or_button_does_not_draw(page: Page) -> None:
    """A palm beside the pen, or the right button, leaves no ink."""
    page.locator("#clear").click()
    blank = levels(page.locator("#pad"))
    page.locator("#pad").click(button="right", position={"x": 60, "y": 60})
    page.evaluate(
        """() => {
            const pad = document.querySelector('#pad');
            const { left, top } = pad.getBoundingClientRect();
            for (const [type, move] of [['pointerdown', 40], ['pointermove', 200], ['pointerup', 200]]) {
                pad.dispatchEvent(new PointerEvent(type, { pointerId: 2, pointerType: 'touch', isPrimary: false,
                    bubbles: true, clientX: left + move, clientY: top + move }));
            }
        }"""
    )
    assert levels(page.locator("#pad")) == blank
