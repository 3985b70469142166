"""What each route asks for: every route of the application, with every key."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.metrics import UNKNOWN
from service.protocol.grpc import ROUTES as GRPC_ROUTES
from service.scopes import NEEDED, OPEN, SCOPES, needed
from service.settings import Settings
from tests.service.keyed import KEYS, LINES, bearing
from tests.service.refusals import refused
from tests.service.serving import MODELS, VERSION, serving


def routes() -> list[tuple[str, str]]:
    """Every method and template that the application answers, as its own routers have them."""
    found: list[tuple[str, str]] = []
    for item in create_app(Settings(models=MODELS)).routes:
        router = getattr(item, "original_router", None)  # of a router of the service's own
        for route in [item] if router is None else router.routes:
            path = getattr(route, "path", "")
            methods = getattr(route, "methods", None)
            found += [(method, path) for method in sorted(methods)] if methods else [("GET", f"{path}/{{path:path}}")]
    return found


ROUTES = routes()


def url(route: str) -> str:
    """A path of a route."""
    names = {"model": "digits", "version": VERSION, "layer": "conv1", "picture": "confusion"}
    return route.replace("{path:path}", "main.js").format(**names)


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    """A service that wants keys."""
    with serving(create_app(Settings(models=MODELS, provider="cpu", api_keys=LINES))) as client:
        yield client


def test_the_table_has_every_route_and_no_other() -> None:
    """Those of HTTP, by the application's own routers, by its metrics, and those of gRPC."""
    assert len(ROUTES) > 30
    told = create_app(Settings(models=MODELS, grpc_port=1)).state.digitscope.metrics.routes
    assert {route for _, route in ROUTES} | set(GRPC_ROUTES.values()) | {UNKNOWN} == set(told)
    assert set(told) - {UNKNOWN} == set(NEEDED)


def test_a_route_that_nobody_thought_of_is_closed() -> None:
    """It asks for the scope of what changes the service."""
    assert needed("/v1/new") == {"admin"}


def test_only_what_has_no_secret_is_open() -> None:
    """The list of it, once more, so that nothing is opened by the way."""
    assert {route for route, scopes in NEEDED.items() if scopes == OPEN} == {
        "/", "/docs", "/openapi.json", "/palettes.json", "/static/{path:path}", "/v2/health/live", "/v2/health/ready",
        "/v2/models/{model}/ready", "/v2/models/{model}/versions/{version}/ready", "grpc:ModelReady", "grpc:ServerLive",
        "grpc:ServerReady",
    }  # fmt: skip


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_every_route_with_every_key(guarded: httpx.Client, method: str, route: str) -> None:
    """Without a key, or with a wrong one, 401; with one of another scope 403; with the right one neither.

    Which of the reasons a 401 has is not told. A key opens the same by either header.
    """
    path = url(route)
    scopes = NEEDED[route]
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer dsk_wrong"},
        {"X-API-Key": ""},
        {"Authorization": f"Basic {KEYS['all']}"},
    )
    answers = [guarded.request(method, path, headers=headers) for headers in wrong]
    if scopes == OPEN:
        assert {answer.status_code for answer in answers} <= {200, 404}, "without a manifest's picture it is a 404"
        return
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="digitscope"'
    if method != "HEAD":
        assert len({refused(answer, 401) for answer in answers}) == 1
    for scope in SCOPES:
        by_header = guarded.request(method, path, headers={"X-API-Key": KEYS[scope]})
        answer = guarded.request(method, path, headers=bearing(scope))
        assert answer.status_code == by_header.status_code
        if scope in scopes:
            assert answer.status_code not in (401, 403)
        else:
            said = refused(answer, 403)
            assert said == f"this API key is not for this, which needs the scope {' or '.join(sorted(scopes))}"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/features%0A", "/v1/features/", "//v1/features", "/v1/./features", "/V1/features", "/v1%2Ffeatures",
        "/v1/features%00", "/v1/features;x=/docs", "/docs/../v1/features", "/static/../v1/features",
        "/v2/models/stats%0A",
        "/static%2F..%2Fv1%2Ffeatures", "/docs%0A", "/v2/health/ready%0A/x", "/v2/models//ready", "/openapi.json/",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_past_its_scope(guarded: httpx.Client, path: str) -> None:
    """With a key for something else it is refused, or leads to what is open or nowhere: never to an answer of it."""
    port = guarded.base_url.port
    for headers in ({}, bearing("predict")):
        for method in ("GET", "POST"):
            request = httpx.Request(
                method, httpx.URL(scheme="http", host="127.0.0.1", port=port, raw_path=path.encode())
            )
            request.headers.update(headers)
            answer = guarded.send(request)
            open_pages = {"/docs%0A": 200}
            assert answer.status_code in {401, 403, 404, 405, open_pages.get(path, 404)}, answer.text


@pytest.mark.parametrize("path", ["/nothing", "/v2/repository/nothing", "/v1", "/favicon.ico"])
def test_what_is_not_there_is_told_to_those_with_a_key(guarded: httpx.Client, path: str) -> None:
    """Without one nobody learns what is there."""
    assert "API key" in refused(guarded.get(path), 401)
    assert refused(guarded.get(path, headers=bearing("metrics")), 404) == f"there is nothing at {path}"
    assert refused(guarded.delete("/v1/predict"), 401)
    assert refused(guarded.delete("/v1/predict", headers=bearing("metrics")), 403)
    assert refused(guarded.delete("/v1/predict", headers=bearing("predict")), 405)


def test_feature_maps_need_the_scope_of_what_is_inside(guarded: httpx.Client) -> None:
    """Asked for as outputs of an inference, they are refused to a key that is for predictions alone."""
    tensor: dict[str, Any] = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
    for outputs, scope, status in (
        ([{"name": "conv1"}], "predict", 403),
        ([{"name": "conv1"}], "page", 200),
        ([{"name": "logits"}], "predict", 200),
    ):
        body = {"inputs": [tensor], "outputs": outputs}
        answer = guarded.post("/v2/models/digits/infer", json=body, headers=bearing(scope))
        assert answer.status_code == status, answer.text
    assert "needs the scope inspect" in refused(
        guarded.post(
            "/v2/models/digits/infer",
            json={"inputs": [tensor], "outputs": [{"name": "fc1"}]},
            headers=bearing("predict"),
        ),
        403,
    )


def test_the_document_says_what_each_operation_needs(guarded: httpx.Client) -> None:
    """Each operation has the scopes of the table, by either header; without keys there is nothing of them."""
    document = guarded.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            told = {scope for scheme in operation["security"] for scopes in scheme.values() for scope in scopes}
            assert told == NEEDED[path]
            assert len(operation["security"]) == 2 * len(told)
    plain = create_app(Settings(models=MODELS)).openapi()
    assert "security" not in str(plain) and "securitySchemes" not in plain["components"]
