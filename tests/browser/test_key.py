"""The page where the service wants an API key: it asks for one, and goes on with it as without."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.drawing import draw_digit, until
from tests.service.keyed import KEYS, LINES
from tests.service.serving import process

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that wants keys."""
    log = tmp_path_factory.mktemp("keys") / "log"
    with process(log, "--provider", "cpu", "--workers", "1", DIGITSCOPE_API_KEYS=LINES) as running:
        yield running.url


@pytest.fixture
def asked(browser: Browser, guarded: str) -> Iterator[Page]:
    """The page as it is opened, which asks for a key; whatever else it says on its console is an error."""
    context = browser.new_context(base_url=guarded, viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=guarded)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto("/")
    expect(page.get_by_role("dialog", name="API key")).to_be_visible()
    yield page
    context.close()
    unforeseen = [text for text in said if "status of 401" not in text and "needs an API key" not in text]
    assert unforeseen == []


def enter(page: Page, key: str) -> None:
    """Enters a key, as one who has it does."""
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use it").click()


def test_the_page_asks_for_a_key_and_works_with_it(asked: Page) -> None:
    """A wrong key is said; with the right one it reads digits and shows the card's pictures; a reload asks no more."""
    enter(asked, "dsk_wrong")
    expect(asked.get_by_role("alert").filter(has_text="The service does not know this key.")).to_be_visible()
    enter(asked, "no key")
    expect(asked.get_by_role("alert").filter(has_text="A key has no blanks")).to_be_visible()
    enter(asked, KEYS["page"])
    asked.wait_for_selector("#samples button")
    expect(asked.get_by_role("dialog")).to_have_count(0)
    draw_digit(asked, 7)
    asked.get_by_role("tab", name="Model").click()
    pictures = asked.locator("#panel-model img")
    assert pictures.count() > 0
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        until(lambda picture=picture: picture.evaluate("(image) => image.naturalWidth") > 100)  # type: ignore[misc]
    asked.reload()
    asked.wait_for_selector("#samples button", state="attached")
    expect(asked.get_by_role("dialog")).to_have_count(0)


def test_the_key_is_kept_for_the_tab_alone(asked: Page) -> None:
    """It is in this tab's own store, in no cookie and in no store that stays, and another tab is asked anew."""
    enter(asked, KEYS["page"])
    asked.wait_for_selector("#samples button")
    assert KEYS["page"] in asked.evaluate("JSON.stringify(sessionStorage)")
    assert KEYS["page"] not in asked.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
    other = asked.context.new_page()
    other.goto("/")
    expect(other.get_by_role("dialog", name="API key")).to_be_visible()


def test_a_copied_command_names_the_variable_and_not_the_key(asked: Page) -> None:
    """Both commands send what DIGITSCOPE_API_KEY holds, as the batch client does."""
    enter(asked, KEYS["page"])
    asked.wait_for_selector("#samples button")
    draw_digit(asked, 7)
    for name, part in (("curl", '-H "Authorization: Bearer $DIGITSCOPE_API_KEY"'), ("Python", "DIGITSCOPE_API_KEY")):
        asked.locator("[data-snippet=predict]").get_by_role("button", name=f"Copy as {name}").click()
        text = asked.evaluate("navigator.clipboard.readText()")
        assert part in text and KEYS["page"] not in text


def test_without_a_key_the_page_says_so(asked: Page) -> None:
    """Who closes the question reads why nothing is there."""
    asked.keyboard.press("Escape")
    expect(asked.locator("#problem")).to_have_text(
        "The service cannot be asked: it needs an API key, and none was entered"
    )


def test_the_reference_takes_a_key(browser: Browser, guarded: str) -> None:
    """Swagger UI is open to all, and asks with a key what it is told to."""
    context = browser.new_context(base_url=guarded)
    page = context.new_page()
    page.goto("/docs")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator("#auth-bearer-value").fill(KEYS["page"])
    page.get_by_role("button", name="Apply credentials").first.click()
    page.locator(".btn-done").first.click()
    block = page.locator("#operations-digitscope-model_v1_model_get")
    block.click()
    block.get_by_role("button", name="Try it out").click()
    with page.expect_response(lambda answer: answer.url.endswith("/v1/model")) as answered:
        block.get_by_role("button", name="Execute").click()
    assert answered.value.status == 200
    context.close()
