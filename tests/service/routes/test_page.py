"""The page and the API's reference: complete in themselves, and closed to everything else."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from service.painting.colour import DIVERGING, SEQUENTIAL
from tests.service.serving import ROOT

WEB = ROOT / "service" / "web"
OURS = sorted(path for path in WEB.rglob("*") if path.suffix in (".html", ".js", ".css") and "vendor" not in path.parts)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_are_closed_to_other_hosts(client: httpx.Client, path: str) -> None:
    """Their policy lets them load from this service alone, run no inline script, and be framed by nobody."""
    answer = client.get(path)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    assert "script-src" not in policy and "http" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_files_name_no_other_host(path: Path) -> None:
    """No page, script or style of ours has an absolute address, nor one that takes over the scheme."""
    assert not re.findall(r"""https?://|["'(]//\w""", path.read_text(encoding="utf-8"))


def linked(client: httpx.Client, path: str, seen: set[str]) -> Iterator[tuple[str, httpx.Response]]:
    """All that a page loads, and what that loads in turn."""
    if path in seen:
        return
    seen.add(path)
    answer = client.get(path)
    yield path, answer
    text = answer.text if "vendor" not in path else ""
    for link in re.findall(r"""(?:src=|<link [^>]*href=|from )"([^"]+)\"""", text):
        if not link.startswith("data:"):
            yield from linked(client, urljoin(path, link), seen)


@pytest.mark.parametrize(("path", "parts"), [("/", 28), ("/docs", 5)])
def test_all_that_a_page_loads_is_here(client: httpx.Client, path: str, parts: int) -> None:
    """Scripts, modules, styles and pictures are all served, with a type that a browser accepts."""
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    found = dict(linked(client, path, set()))
    assert len(found) >= parts, sorted(found)
    for name, answer in found.items():
        assert answer.status_code == 200, name
        kind = types.get(name.rpartition(".")[2], "text/html")
        assert answer.headers["Content-Type"].startswith(kind), name


def test_the_page_paints_with_the_services_colours(client: httpx.Client) -> None:
    """Its palettes are those of the feature maps' pictures, colour by colour."""
    palettes = client.get("/palettes.json").json()
    assert palettes == {"sequential": SEQUENTIAL.tolist(), "diverging": DIVERGING.tolist()}


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/none.js"])
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    """Neither the service's code nor a listing can be fetched."""
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_answer_head_as_get(client: httpx.Client, path: str) -> None:
    """A check that asks for the head alone gets the same head, and no body."""
    head, get = client.head(path), client.get(path)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
