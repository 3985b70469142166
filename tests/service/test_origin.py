"""Requests of other sites' pages: told by what browsers say, whatever else they send."""

import pytest

from service.origin import is_foreign, is_foreign_name, of_browser

HOST = {b"host": b"127.0.0.1:8000"}
NONE: frozenset[str] = frozenset()


def fields(**given: str) -> dict[bytes, bytes]:
    """Header fields of a request to this machine."""
    return HOST | {name.replace("_", "-").encode(): value.encode() for name, value in given.items()}


@pytest.mark.parametrize(
    ("method", "sent", "foreign"),
    [
        ("POST", {}, False),  # curl, and all that is no browser
        ("POST", {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8000"}, False),  # the page
        ("POST", {"sec_fetch_site": "same-origin", "origin": "https://digits.example"}, False),  # behind a proxy
        ("GET", {"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}, False),  # typed
        ("GET", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, False),  # a link
        ("POST", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "origin": "http://evil.example"}, True),
        ("POST", {"sec_fetch_site": "cross-site", "origin": "http://evil.example"}, True),
        ("POST", {"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:3000"}, True),  # another port
        ("GET", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, True),  # <img>
        ("GET", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "cors", "origin": "http://evil.example"}, True),
        ("POST", {"origin": "http://127.0.0.1:8000"}, False),  # where Sec-Fetch-Site is not sent
        ("POST", {"origin": "http://evil.example"}, True),
        ("POST", {"origin": "http://127.0.0.1:3000"}, True),
        ("POST", {"origin": "null"}, True),  # a sandboxed frame, or a file
        ("POST", {"sec_fetch_site": "anything new"}, True),
    ],
)
def test_a_page_of_another_site_is_told(method: str, sent: dict[str, str], *, foreign: bool) -> None:
    """As browsers send it; an allowed origin passes, and another one's being allowed changes nothing."""
    assert is_foreign(method, fields(**sent), NONE) == foreign
    assert is_foreign(method, fields(**sent), frozenset({"https://other.example"})) == foreign
    if "origin" in sent:
        assert not is_foreign(method, fields(**sent), frozenset({sent["origin"]}))
        assert not is_foreign(method, fields(**sent), frozenset({"*"}))
    assert of_browser(fields(**sent)) == bool(sent)


@pytest.mark.parametrize(
    ("host", "foreign"),
    [
        ("127.0.0.1:8000", False),
        ("192.168.1.7", False),
        ("[::1]:8000", False),
        ("[fe80::1%25eth0]", False),
        ("localhost:8000", False),
        ("LOCALHOST", False),
        ("digits.localhost:8000", False),
        ("digitscope:8000", False),  # of a Compose network
        ("", False),  # HTTP/1.0
        ("evil.example:8000", True),
        ("evil.example", True),
        ("127.0.0.1.evil.example", True),
        ("localhost.evil.example:8000", True),
        ("evil.example.", True),
        ("127.0.0.1@evil.example", True),
        ("evil.localhost.example", True),
        ("evillocalhost.x", True),
    ],
)
def test_a_name_that_anybody_may_have_is_told(host: str, *, foreign: bool) -> None:
    """DNS rebinding needs one; it is the only thing that a page cannot do without."""
    assert is_foreign_name(host.encode(), NONE) == foreign
    assert is_foreign_name(host.encode(), frozenset({"digits.example"})) == foreign
    name = host.partition(":")[0]
    assert not is_foreign_name(host.encode(), frozenset({name.lower()})) or host.startswith("[")
