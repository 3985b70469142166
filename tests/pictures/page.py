"""The README's pictures of the page, page.png and page-dark.png: `python -m tests.pictures.page http://127.0.0.1:8000`.

A three is drawn, a value of conv2 is pointed at, and what speaks for the three is laid over it.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.drawing import draw_digit

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 1440, 930  # pixels


def take(browser: Browser, url: str, scheme: Literal["light", "dark"], path: Path) -> None:
    """One picture, in a light or a dark page."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    page.goto(url)
    draw_digit(page, 3)
    for field, value in (("channel", "1"), ("row", "4"), ("column", "6")):
        page.locator("#layer").select_option("conv2")
        page.locator(f"#{field}").fill(value)
    page.locator("#method").select_option("occlusion")
    expect(page.locator("#attribution-note")).to_contain_text("For 3.")
    expect(page.locator("#value")).to_be_visible()
    page.mouse.move(5, 5)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(500)  # the training digits that excite the map
    page.screenshot(path=path)
    page.close()


def main() -> None:
    """Takes both."""
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        take(browser, sys.argv[1], "light", FOLDER / "page.png")
        take(browser, sys.argv[1], "dark", FOLDER / "page-dark.png")
        browser.close()


if __name__ == "__main__":
    main()
