"""Traces: what a collector of OpenTelemetry's own protocol is sent, and what callers are told, on every way."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import ValidationError

from service.app import Application, create_app
from service.errors import EngineError, OverloadedError
from service.protocol.grpc import inference_pb2 as pb
from service.settings import Settings
from service.telemetry import Telemetry
from tests.conftest import Mnist
from tests.service.collector import SOON, Collector, collecting
from tests.service.keyed import KEYS, LINES, bearing
from tests.service.pictures import drawn, encode
from tests.service.protocol.grpc.calling import Client, calling, free_port
from tests.service.serving import MODELS, ROOT, VERSION, process, run_service, serving
from tests.service.thin_requests import INFER, LENGTH, PREPARED, infer_body
from tests.service.wire import Wire, head

PICTURE = encode(drawn())
RAW = {LENGTH: "0"}
SERVER = 2  # a kind of span
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
FACTS_OF_A_RUN = {
    "digitscope.model": "digits",
    "digitscope.model.version": VERSION,
    "digitscope.provider": "CPUExecutionProvider",
    "digitscope.precision": "fp32",
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector."""
    with collecting() as running:
        yield running


class Traced:
    """A service whose requests are followed, and what a collector has of them."""

    def __init__(self, client: httpx.Client, calls: Client, collector: Collector, app: Application) -> None:
        self.client = client
        self.calls = calls
        self.collector = collector
        self.app = app


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Traced]:
    """It runs in this process."""
    port = free_port()
    app = create_app(Settings(models=MODELS, provider="cpu", grpc_port=port, traces=collector.url, api_keys=LINES))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SOON.items():
            patch.setenv(name, value)
        with serving(app) as client, calling(port) as calls:
            client.headers.update(bearing("all"))
            yield Traced(client, calls, collector, app)


def ids(header: str) -> tuple[str, str, str]:
    """Trace, span and flags of what an answer returns."""
    version, trace, span, flags = header.split("-")
    assert (version, len(trace), len(span)) == ("00", 32, 16)
    return trace, span, flags


@pytest.mark.parametrize(
    ("path", "body", "headers", "stages", "images"),
    [
        ("/v1/predict", bytes(784), PREPARED, ["read", "queue", "run", "answer"], 1),
        ("/v1/predict", encode(drawn().resize((28, 28))), {}, ["read", "queue", "run", "answer"], 1),
        ("/v1/predict", PICTURE, {}, ["read", "queue", "run", "answer"], 1),
        ("/v1/predict?segment=true", PICTURE, {}, ["read", "queue", "run", "answer"], None),
        ("/v1/predict", bytes(100 * 784), PREPARED, ["read", "queue", "run", "answer"], 100),
        (INFER, bytes(3 * 784), RAW, ["read", "queue", "run", "answer"], 3),
        (INFER, infer_body(100), {}, None, 100),
        ("/v1/features?layer=conv1", PICTURE, {}, ["read", "look", "answer"], None),
    ],
)
def test_a_request_is_a_span_in_its_callers_trace(
    traced: Traced, path: str, body: bytes, headers: dict[str, str], stages: list[str] | None, images: int | None
) -> None:
    """OpenTelemetry's own client begins the trace; the service's span and its stages go on with it, in true order."""
    tracer = TracerProvider().get_tracer("caller")
    carrier: dict[str, str] = {}
    with use_span(tracer.start_span("asking")) as asking:
        propagate.inject(carrier)
    context = asking.get_span_context()
    answer = traced.client.post(path, content=body, headers=headers | carrier | {"tracestate": "vendor=1,other=x"})
    assert answer.status_code == 200
    trace, own, flags = ids(answer.headers["traceresponse"])
    assert trace == f"{context.trace_id:032x}" and int(flags, 16) & 1
    spans = traced.collector.of(trace)
    route = "/v2/models/{model}/infer" if path == INFER else path.partition("?")[0]
    server = spans.pop(f"POST {route}")
    assert (server.parent, server.id, server.kind) == (f"{context.span_id:016x}", own, SERVER)
    assert server.state == "vendor=1,other=x" and not server.failed
    assert server.facts == {
        "http.request.method": "POST",
        "http.route": route,
        "http.response.status_code": 200,
        "url.path": path.partition("?")[0],
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": traced.client.base_url.port,
        "client.address": "127.0.0.1",
        "user_agent.original": traced.client.headers["User-Agent"],
    }
    if stages is not None:
        assert sorted(spans) == sorted(stages)
    moments = [server.began]
    for name in stages or ("queue", "run", "answer"):
        span = spans[name]
        assert (span.parent, span.trace) == (server.id, trace)
        moments += [span.began, span.ended]
    moments.append(server.ended)
    assert all(after >= before - 1000 for before, after in pairwise(moments))  # each is rounded to nanoseconds
    if "run" in spans:
        facts = spans["run"].facts
        assert facts.items() >= FACTS_OF_A_RUN.items()
        assert facts["digitscope.batch.requests"] == 1
        assert facts["digitscope.images"] == facts["digitscope.batch.images"] == (images or facts["digitscope.images"])


def test_requests_that_share_a_batch_say_so(traced: Traced) -> None:
    """Of five that come in one packet, each knows its own images and those of the run that they share."""
    request = head("POST", INFER, f"{LENGTH}: 0", "Content-Length: 1568", f"X-API-Key: {KEYS['all']}") + bytes(1568)
    wires = [Wire(traced.client) for _ in range(5)]
    runs = []
    for _ in range(20):  # until some have come together, which is for the system to say
        for wire in wires:
            wire.send(request)
        traces = [ids(wire.answer().headers["Traceresponse"])[0] for wire in wires]
        runs = [traced.collector.of(trace)["run"] for trace in traces]
        if any(run.facts["digitscope.batch.requests"] > 1 for run in runs):
            break
    for wire in wires:
        wire.close()
    shared = [run for run in runs if run.facts["digitscope.batch.requests"] > 1]
    assert shared
    for run in shared:
        assert run.facts["digitscope.images"] == 2
        assert run.facts["digitscope.batch.images"] == 2 * run.facts["digitscope.batch.requests"]
        alike = [other for other in shared if abs((other.ended - other.began) - (run.ended - run.began)) < 1000]
        assert len(alike) == run.facts["digitscope.batch.requests"]


REFUSALS: dict[str, tuple[str, str, bytes, dict[str, str], int]] = {
    "no picture": ("POST", "/v1/predict", b"hello", {}, 415),
    "too many": ("POST", "/v1/predict", bytes(257 * 784), PREPARED, 413),
    "too long": ("POST", "/v1/predict", b"", {"Content-Length": str(2**40)}, 413),
    "bad query": ("POST", "/v1/predict?seen=perhaps", PICTURE, {}, 400),
    "bad parameter": ("POST", "/v1/features?layer=conv1&preprocess=no", PICTURE, {}, 400),
    "no route": ("GET", "/nowhere", b"", {}, 404),
    "no method": ("PUT", "/v1/predict", b"", {}, 405),
    "no known method": ("PROPFIND", "/v1/predict", b"", {}, 405),
    "no key": ("POST", "/v1/predict", PICTURE, {"Authorization": "Bearer none"}, 401),
    "no right": ("POST", "/v1/features?layer=conv1", PICTURE, bearing("predict"), 403),
    "too late": ("POST", "/v1/features?layer=conv1", PICTURE, {"X-Request-Timeout": "0.000000001"}, 504),
    "a page": ("GET", "/", b"", {}, 200),
    "a file": ("GET", "/static/main.js", b"", {}, 200),
    "health": ("GET", "/v2/health/live", b"", {}, 200),
    "head": ("HEAD", "/v1/model", b"", {}, 200),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_every_answer_names_its_span(traced: Traced, name: str) -> None:
    """Whoever answers, and whether by a refusal; only what the service is to blame for is a failure."""
    method, path, body, headers, status = REFUSALS[name]
    with Wire(traced.client) as wire:
        fields = {"Content-Length": str(len(body)), **bearing("all"), **headers, "traceparent": SAMPLED}
        wire.send(head(method, path, *(f"{field}: {value}" for field, value in fields.items())) + body)
        answer = wire.answer(method)
    assert answer.status == status
    trace, own, _ = ids(answer.headers["Traceresponse"])
    assert trace == SAMPLED.split("-")[1]
    spans = traced.collector.wait(lambda spans: any(span.id == own for span in spans))
    (span,) = (span for span in spans if span.id == own)
    assert span.facts["http.response.status_code"] == status
    assert span.failed == (status >= 500)
    assert span.facts.get("error.type") == (str(status) if status >= 500 else None)
    known = method != "PROPFIND"
    assert span.facts["http.request.method"] == (method if known else "_OTHER")
    assert span.facts.get("http.request.method_original") == (None if known else method)
    assert span.name.split(" ")[0] == (method if known else "HTTP")
    assert ("http.route" in span.facts) == (name not in {"no route", "a file"})


def test_a_failure_of_the_engine_is_one(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that fails answers 500, on both ways; the span says so, and nothing of what the engine said."""

    def fail(*_: Any) -> Any:
        raise EngineError("the engine failed") from RuntimeError("secret")

    monkeypatch.setattr(traced.app.state.digitscope.predictor.engine, "predict", fail)
    for body, headers in ((bytes(784), PREPARED), (PICTURE, {})):
        answer = traced.client.post("/v1/predict", content=body, headers=headers)
        assert answer.status_code == 500
        spans = traced.collector.of(ids(answer.headers["traceresponse"])[0])
        assert spans["POST /v1/predict"].failed and spans["POST /v1/predict"].facts["error.type"] == "500"
        assert "secret" not in str(spans)


def test_who_is_turned_away_is_told_his_span_too(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the head alone, as when too much waits, with nothing read and nothing run."""
    predictor = traced.app.state.digitscope.predictor
    monkeypatch.setattr(predictor, "refusal", lambda *_: OverloadedError("too much waits"))
    answer = traced.client.post(INFER, content=bytes(784), headers=RAW | {"traceparent": SAMPLED})
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
    trace, own, _ = ids(answer.headers["traceresponse"])
    assert trace == SAMPLED.split("-")[1]
    spans = traced.collector.wait(lambda spans: any(span.id == own for span in spans))
    assert not [span for span in spans if span.parent == own]
    (span,) = (span for span in spans if span.id == own)
    assert span.failed and span.facts["error.type"] == "503" and span.facts["client.address"] == "127.0.0.1"


def test_nothing_secret_is_sent(traced: Traced) -> None:
    """No key, no query, no digit and no picture leaves in a span; what a caller has written is cut."""
    secret = "s3cr3t"  # noqa: S105 — of nobody
    answer = traced.client.post(
        f"/v1/predict?token={secret}", content=PICTURE, headers={"User-Agent": "x" * 5000, "Cookie": secret}
    )
    spans = traced.collector.of(ids(answer.headers["traceresponse"])[0])
    text = str(spans)
    assert secret not in text and "token" not in text
    assert not [key for key in KEYS.values() if key in text]
    assert spans["POST /v1/predict"].facts["user_agent.original"] == "x" * 256


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_over_grpc_are_spans_too(traced: Traced, mnist: Mnist, streamed: bool) -> None:
    """By the conventions for RPC; trailing metadata return the context, also of what is refused."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=[2, 1, 28, 28])
    good = pb.ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[mnist.images[:2].tobytes()])
    bad = pb.ModelInferRequest(model_name="letters", inputs=[tensor])
    metadata = [("traceparent", SAMPLED), ("tracestate", "a=1"), ("tracestate", "b=2"), ("x-api-key", KEYS["all"])]
    name = "ModelStreamInfer" if streamed else "ModelInfer"
    service = "inference.GRPCInferenceService"
    for request, code, kind in ((good, "OK", None), (bad, "NOT_FOUND", None)):
        if streamed:
            call = traced.calls.channel.stream_stream(
                f"/{service}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=pb.ModelStreamInferResponse.FromString,
            )(iter([request]), timeout=60, metadata=metadata)
            assert len(list(call)) == 1
            trailing = call.trailing_metadata()
        else:
            try:
                _, call = traced.calls.method(name).with_call(request, timeout=60, metadata=metadata)
                trailing = call.trailing_metadata()
            except grpc.RpcError as error:
                trailing = error.trailing_metadata()
        returned = dict(trailing)["traceresponse"]
        trace, own, _ = ids(returned)
        assert trace == SAMPLED.split("-")[1]
        spans = traced.collector.wait(lambda spans, own=own: any(span.id == own for span in spans))  # type: ignore[misc]
        (span,) = (span for span in spans if span.id == own)
        assert span.facts == {
            "rpc.system.name": "grpc",
            "rpc.method": f"{service}/{name}",
            "rpc.response.status_code": code,
            "client.address": "127.0.0.1",
        }
        assert (span.name, span.kind, span.state) == (f"{service}/{name}", SERVER, "a=1,b=2")
        assert span.facts.get("error.type") == kind and not span.failed
        stages = {each.name for each in spans if each.parent == own}
        assert stages == ({"queue", "run", "answer"} if code == "OK" else set())


class Kept:
    """A service whose spans stay in this process."""

    def __init__(self, client: httpx.Client, exporter: InMemorySpanExporter) -> None:
        self.client = client
        self.exporter = exporter

    def of(self, own: str) -> list[ReadableSpan]:
        """The span of that id, once it has ended, which is after its answer."""
        deadline = time.monotonic() + 30
        while True:
            spans = self.exporter.get_finished_spans()
            if found := [span for span in spans if span.context and f"{span.context.span_id:016x}" == own]:
                return found
            assert time.monotonic() < deadline
            time.sleep(0.001)


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    """It runs in this process; its sampler is OpenTelemetry's default."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(Settings(models=MODELS, provider="cpu"))
    with serving(app) as client:
        app.journal.trails = Telemetry(provider)
        yield Kept(client, exporter)


HEXADECIMAL = st.text("0123456789abcdef", min_size=1, max_size=34)
PARENTS = st.one_of(
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]{0,9})?", fullmatch=True),
    st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", fullmatch=True),
    st.tuples(*[HEXADECIMAL] * 4).map("-".join),
    st.sampled_from(
        [
            *("", SAMPLED, UNSAMPLED, SAMPLED.upper(), f"{SAMPLED}-", f"{SAMPLED},{SAMPLED}", f"ff{SAMPLED[2:]}"),
            *(f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01"),
            *(f"01{SAMPLED[2:]}-more", SAMPLED[:-1], SAMPLED.replace("-", "_"), "x" * 600, "ü"),
        ]
    ),
)
STATES = st.one_of(
    st.from_regex(
        r"([a-z][a-z0-9_*/-]{0,9}=[!-+\--<>-~]{1,9})(,[a-z][a-z0-9_*/-]{0,9}=[!-+\--<>-~]{1,9}){0,4}", fullmatch=True
    ),
    st.sampled_from(
        ["", "a", "a=", "=", "a=1,,b=2", "a=1, b=2", "A=1", "a=1,a=2", ",".join(f"k{n}=1" for n in range(40))],
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
)


@settings(deadline=None, max_examples=80)
@given(parent=PARENTS, states=st.lists(STATES, max_size=2), thin=st.booleans())
def test_a_context_is_taken_over_as_opentelemetry_takes_it(
    kept: Kept, parent: str, states: list[str], thin: bool
) -> None:
    """Whatever is sent is answered; what OpenTelemetry's own propagator finds in it goes on, or else one begins."""
    fields = [f"traceparent: {parent}", *(f"tracestate: {state}" for state in states)]
    carrier = {
        "traceparent": [parent.strip()],
        **({"tracestate": [state.strip() for state in states]} if states else {}),
    }
    context = TraceContextTextMapPropagator().extract(carrier, Context())
    expected = get_current_span(context).get_span_context()
    kept.exporter.clear()
    with Wire(kept.client) as wire:
        if thin:
            wire.send(head("POST", INFER, f"{LENGTH}: 0", "Content-Length: 784", *fields) + bytes(784))
        else:
            wire.send(head("GET", "/v2/health/live", *fields))
        answer = wire.answer("POST" if thin else "GET")
    assert answer.status == 200
    trace, own, flags = ids(answer.headers["Traceresponse"])
    assert own != parent[36:52]
    if expected.is_valid:
        assert trace == f"{expected.trace_id:032x}"
        assert int(flags, 16) & 1 == expected.trace_flags & 1
    else:
        assert trace not in parent and int(flags, 16) & 1 == 1
    for span in kept.of(own) if int(flags, 16) & 1 else ():
        assert span.context is not None
        assert span.context.trace_state == (expected.trace_state if expected.is_valid else {})
        assert (span.parent is not None) == expected.is_valid


def test_what_is_followed_comes_once() -> None:
    """A head with a context is not kept, traces on or off: no other request has the same; others are, as ever."""
    app = create_app(Settings(models=MODELS, provider="cpu"))
    request = ("POST", INFER, f"{LENGTH}: 0", "Content-Length: 784")
    with serving(app) as client, Wire(client) as wire:
        wire.send(head(*request, f"traceparent: {SAMPLED}") + bytes(784))
        assert "Traceresponse" not in wire.answer().headers
        assert not app.express.heads
        wire.send(head(*request) + bytes(784))
        assert "Traceresponse" not in wire.answer().headers
        assert list(app.express.heads) == [head(*request)]
        app.journal.trails = Telemetry(TracerProvider())
        app.express.heads.clear()
        found = set()
        for _ in range(3):  # those of a head that is known have each a trace of their own
            wire.send(head(*request) + bytes(784))
            found.add(ids(wire.answer().headers["Traceresponse"])[0])
        assert len(found) == 3 and list(app.express.heads) == [head(*request)]
        wire.send(head(*request, f"traceparent: {SAMPLED}") + bytes(784))
        assert ids(wire.answer().headers["Traceresponse"])[0] == SAMPLED.split("-")[1]
        assert list(app.express.heads) == [head(*request)]


def ask(client: httpx.Client, **headers: str) -> httpx.Response:
    """Sends a digit."""
    return client.post(INFER, content=bytes(784), headers=RAW | headers)


def asking(url: str) -> httpx.Client:
    """A client, each of whose requests has a connection of its own, so that all workers are asked."""
    return httpx.Client(base_url=url, trust_env=False, headers={"Connection": "close"})


def test_workers_send_what_is_theirs(tmp_path: Path, collector: Collector) -> None:
    """Each worker is an instance of one service; none loses a request, and logs have the ids of the trace."""
    before = len(collector.spans)
    log = tmp_path / "log"
    flags = ("--provider", "cpu", "--workers", "2", "--traces", f"{collector.url}/v1/traces", "--access-log")
    with process(log, *flags) as running, asking(running.url) as client:
        returned = [ids(ask(client).headers["traceresponse"]) for _ in range(40)]
        assert running.end() == 0  # and what has not been sent goes out then
    spans = [span for span in collector.spans[before:] if span.kind == SERVER]
    assert sorted((span.trace, span.id) for span in spans) == sorted(found[:2] for found in returned)
    assert {span.resource["service.name"] for span in spans} == {"digitscope"}
    assert len({span.resource["service.instance.id"] for span in spans}) == 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    logged = {(line["trace_id"], line["span_id"]) for line in lines if line["event"] == "request"}
    assert logged == {found[:2] for found in returned}
    assert collector.paths == {"/v1/traces"}


def test_the_variables_of_opentelemetry_hold(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    """Where they go, their keys, their packing, what the service is called, and which are sampled."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=abc",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "digits-of-ours",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.version=9",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = len(collector.spans)
    with serving(create_app(Settings(models=MODELS, provider="cpu", traces="env"))) as client:
        sampled, unsampled = (ask(client, traceparent=parent) for parent in (SAMPLED, UNSAMPLED))
        own = ask(client)
    assert ids(sampled.headers["traceresponse"])[2] == "01"
    assert ids(unsampled.headers["traceresponse"])[0::2] == (UNSAMPLED.split("-")[1], "00")
    assert int(ids(own.headers["traceresponse"])[2], 16) & 1 == 0
    found = collector.spans[before:]
    assert {span.trace for span in found} == {SAMPLED.split("-")[1]} and len(found) == 5
    named = {"service.name": "digits-of-ours", "deployment.environment.name": "test", "service.version": "9"}
    assert found[0].resource.items() >= named.items()
    assert collector.headers[-1]["api-key"] == "abc" and collector.headers[-1]["content-encoding"] == "gzip"


def test_opentelemetry_may_be_off_altogether(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    """OTEL_SDK_DISABLED has the service answer as if nothing had been asked for."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with serving(create_app(Settings(models=MODELS, provider="cpu", traces=collector.url))) as client:
        assert "traceresponse" not in ask(client, traceparent=SAMPLED).headers


@pytest.mark.parametrize("silent", [False, True])
def test_a_collector_that_is_not_there_costs_a_line(tmp_path: Path, silent: bool) -> None:
    """Nobody listens, or somebody who never answers: requests are answered, and the end is not held up by it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        if not silent:
            listening.close()
        flags = ("--provider", "cpu", "--workers", "1", "--traces", url)
        variables = {"OTEL_BSP_MAX_QUEUE_SIZE": "20", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10", **SOON}
        with process(tmp_path / "log", *flags, OTEL_EXPORTER_OTLP_TIMEOUT="900", **variables) as running:
            with asking(running.url) as client:
                assert {ask(client).status_code for _ in range(30)} == {200}
            assert running.end() == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    complaints = [line["event"] for line in lines if line["level"] in ("warning", "error")]
    assert len(complaints) <= 2  # that it is full, and that nothing can be sent
    assert "Queue full, dropping Span." in complaints


@pytest.mark.parametrize(
    "url",
    [
        "collector:4318",
        "ftp://collector",
        "http://",
        "http://k@collector",
        "http://c/v1?k=x",
        "on",
        "http://a b",
        "http://a/#",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """By one sentence, in which no key that it might have is repeated."""
    with pytest.raises(ValidationError) as raised:
        Settings(traces=url)
    (problem,) = raised.value.errors()
    assert problem["msg"] == "traces go to a URL such as http://collector:4318; keys go into OTEL_EXPORTER_OTLP_HEADERS"


@pytest.mark.parametrize(
    "url", ["http://collector:4318", "https://c.example/otlp/", "http://[::1]:4318/v1/traces", "env"]
)
def test_urls_of_collectors_are_taken(url: str) -> None:
    """With and without a path."""
    assert Settings(traces=url).traces == url


def test_a_variable_without_meaning_stops_the_start() -> None:
    """By 3, with one sentence in the log."""
    ran = run_service(
        *("--traces", "http://127.0.0.1:9", "--provider", "cpu", "--workers", "1"), OTEL_BSP_MAX_QUEUE_SIZE="5"
    )
    assert ran.returncode == 3
    errors = [json.loads(line) for line in ran.stderr.splitlines() if '"error"' in line]
    assert [error["event"] for error in errors if "traces" in error["event"]] == [
        "traces: max_export_batch_size must be less than or equal to max_queue_size."
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer s3cr3t"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b,s3cr3t"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://nowhere s3cr3t"),
    ],
)
def test_a_secret_that_is_misspelt_is_not_logged(name: str, value: str) -> None:
    """What may hold a collector's key stops the start where it has no meaning, and the log names the variable."""
    ran = run_service("--traces", "env", "--provider", "cpu", "--workers", "1", **{name: value})
    assert ran.returncode == 3 and f"traces: {name} is" in ran.stderr and "s3cr3t" not in ran.stderr


@pytest.mark.parametrize(("members", "kept"), [(10, True), (20, False)])
def test_a_state_that_is_too_long_is_dropped(traced: Traced, members: int, *, kept: bool) -> None:
    """The trace goes on without it: some versions of OpenTelemetry take seconds for one of 60,000 bytes."""
    state = ",".join(f"vendor{number}={'x' * 250}" for number in range(members))
    sent = f"{members:032x}"
    answer = ask(traced.client, traceparent=f"00-{sent}-b7ad6b7169203331-01", tracestate=state)
    trace, own, _ = ids(answer.headers["traceresponse"])
    spans = traced.collector.of(trace)
    assert trace == sent and [span.state for span in spans.values() if span.id == own] == [state if kept else ""]


def test_a_missing_extra_stops_the_start() -> None:
    """`--traces` without the extra ends by 2, with one sentence that says what to install."""
    missing = "opentelemetry.exporter.otlp.proto.http"
    code = f"import sys; sys.modules[{missing!r}] = None; from service.command import main; sys.exit(main())"
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, "--traces", "env"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said = "service: setting traces: traces need the extra traces: pip install 'digitscope[traces]'\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", said)


def test_nothing_of_it_is_imported_unasked() -> None:
    """Without the flag the service starts without the SDK, and takes no time or memory for it."""
    code = (
        "import sys, service.command as m; m.create_app(m.Settings(provider='cpu'));"
        "print([n for n in sys.modules if n.startswith(('opentelemetry.sdk', 'opentelemetry.exp', 'service.tele'))])"
    )
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
