"""Drawing on the page as somebody with a mouse does."""

import time
from collections.abc import Callable, Iterable

from playwright.sync_api import Locator, Page, expect

from tests.browser.strokes import DIGITS, Stroke


def draw(page: Page, strokes: Iterable[Stroke]) -> None:
    """Strokes of the mouse on the pad, through points in parts of its width and height."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=4)
        page.mouse.up()


def draw_digit(page: Page, digit: int) -> None:
    """A digit as people write it, of which the page says that it is one."""
    draw(page, DIGITS[digit])
    expect(page.locator("#digit")).to_have_text(str(digit))
    expect(page.locator("#value")).to_be_visible()


def levels(canvas: Locator) -> str:
    """What a canvas shows, as text that is the same for the same pixels."""
    return str(canvas.evaluate("(canvas) => canvas.toDataURL()"))


def until(holds: Callable[[], bool]) -> None:
    """Waits for what Playwright has no expectation of; its own way needs eval, which the page forbids."""
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)
