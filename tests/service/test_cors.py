"""Preflights of CORS: who may ask before asking, and that they are shielded, counted and logged as all requests are."""

from collections.abc import Iterator

import httpx
import pytest
import structlog

from service.app import create_app
from service.settings import Settings
from tests.service.keyed import LINES, bearing
from tests.service.serving import MODELS, serving
from tests.service.test_shield import assert_shielded

MINE, OTHER = {"Origin": "https://lab.example"}, {"Origin": "https://evil.example"}
OWN = {"Origin": "http://localhost", "Host": "localhost"}
BEFORE = {"Access-Control-Request-Method": "POST"}


@pytest.fixture(scope="module")
def opened() -> Iterator[httpx.Client]:
    """A service that is open to one origin, wants keys and logs requests."""
    settings = Settings(models=MODELS, provider="cpu", allow_origin=("https://lab.example",), api_keys=LINES)
    with serving(create_app(settings.model_copy(update={"access_log": True}))) as client:
        yield client


def count(client: httpx.Client, name: str, *labels: str) -> float:
    """The sum of a metric's series that have all of some labels."""
    lines = client.get("/metrics", headers=bearing("metrics")).text.splitlines()
    found = [line for line in lines if line.startswith(name + "{") and all(label in line for label in labels)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/v1/predict", MINE | BEFORE, 200),
        ("/nothing", MINE | BEFORE, 200),
        ("/v1/predict", OTHER | BEFORE, 403),
        ("/v1/predict", OWN | BEFORE, 403),
        ("/v1/predict", OTHER | BEFORE | {"Sec-Fetch-Site": "none"}, 403),
        ("/v1/predict", MINE | BEFORE | {"Sec-Fetch-Site": "cross-site"}, 200),
        ("/v1/predict", MINE | {"Access-Control-Request-Method": "DELETE"}, 403),
        ("/v1/predict", MINE | {"Access-Control-Request-Method": "\u00e9"}, 403),
        ("/v1/predict", MINE | BEFORE | {"Access-Control-Request-Private-Network": "true"}, 403),
        ("/v1/predict", MINE | BEFORE | {"Host": "evil.example"}, 403),
    ],
)
def test_a_preflight_is_answered_as_a_request_is(
    opened: httpx.Client, path: str, asked: dict[str, str], status: int
) -> None:
    """With the headers that shield, an id, a count by a label of few, a line in the log; refused in JSON."""
    route = f'route="{path if path == "/v1/predict" else "unknown"}"'
    labels = (route, 'method="OPTIONS"', f'status="{status}"')
    before = (
        count(opened, "digitscope_requests_total", *labels),
        count(opened, "digitscope_refusals_total", "Forbidden"),
    )
    encoded = {name.encode(): value.encode("latin-1") for name, value in (asked | {"X-Request-ID": "mine-1"}).items()}
    with structlog.testing.capture_logs() as logged:
        answer = opened.options(path, headers=encoded)
    assert answer.status_code == status
    assert_shielded(answer.headers)
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert [(line["method"], line["path"], line["status"]) for line in logged] == [("OPTIONS", path, status)]
    assert count(opened, "digitscope_requests_total", *labels) == before[0] + 1
    refusals = count(opened, "digitscope_refusals_total", "Forbidden")
    if status == 200:
        assert refusals == before[1]
        assert answer.headers["Access-Control-Allow-Origin"] == "https://lab.example"
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
    else:
        assert refusals == before[1] + 1
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert set(answer.json()) == {"error"}


def test_what_is_said_twice_is_checked_as_it_is_answered(opened: httpx.Client) -> None:
    """Of two origins or methods one counts, for the refusal as for the answer."""
    for field, good, bad in (
        ("Origin", "https://lab.example", "https://evil.example"),
        ("Access-Control-Request-Method", "POST", "DELETE"),
    ):
        rest = [pair for pair in (MINE | BEFORE).items() if pair[0] != field]
        answer = opened.options("/v1/predict", headers=[*rest, (field, bad), (field, good)])
        assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == "https://lab.example"
        answer = opened.options("/v1/predict", headers=[*rest, (field, good), (field, bad)])
        assert answer.status_code == 403 and set(answer.json()) == {"error"}


def test_what_is_no_preflight_is_a_request_like_any_other(opened: httpx.Client) -> None:
    """OPTIONS without the question needs a key, and is answered nowhere."""
    assert opened.options("/v1/predict", headers=MINE).status_code == 401
    assert opened.options("/v1/predict", headers=MINE | bearing("predict")).status_code == 405
    assert opened.options("/v1/predict", headers=BEFORE | bearing("predict")).status_code == 405
