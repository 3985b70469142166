"""A real Chromium, and the page in it, whose console has to stay clean."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.service.serving import Process

_FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",  # a camera that shows a test picture
    "--use-fake-ui-for-media-stream",  # and is allowed without a question
]


@pytest.fixture(scope="session")
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
def context(browser: Browser, server: Process) -> Iterator[BrowserContext]:
    """A profile of its own, wide enough for the whole page, that may use the clipboard and the camera."""
    context = browser.new_context(base_url=server.url, service_workers="block", viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=server.url)
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, server: Process) -> Iterator[Page]:
    """A fresh page of the service, whose console has to show no error and whose requests have to stay with the service.

    The browser notes a refused picture as an error too, which it is not.
    """
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert [text for text in said if "status of 415" not in text] == []
    assert asked and all(url.startswith((f"{server.url}/", "data:", "blob:")) for url in asked), asked


@pytest.fixture
def page(visit: Page) -> Page:
    """The page itself, ready to be drawn on."""
    visit.goto("/")
    visit.wait_for_selector("#samples button")
    return visit
