"""Traces by OpenTelemetry: of each request a span in its caller's trace, and beneath it where its time went.

The context comes as W3C Trace Context has it (https://www.w3.org/TR/trace-context/) and goes back as its next edition
does, by `traceresponse` (https://w3c.github.io/trace-context/#traceresponse-header). Names are those of the semantic
conventions for HTTP and for RPC (https://opentelemetry.io/docs/specs/semconv/). Of the extra `traces`, and imported
only where they are asked for.
"""

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPMethod

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import service
from service.errors import TelemetryError
from service.metrics import UNKNOWN
from service.settings import COLLECTOR
from service.trail import NONE, Facts, Trail, Trails

ENVIRONMENT = "env"
"""In the place of a URL: the collector that OpenTelemetry's own variables name."""

_PATH = "/v1/traces"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_GRACE = 1.5  # seconds for what has not been sent when the service ends
_QUIET = 60.0  # seconds until a collector that cannot be reached is mentioned again
_LONGEST = 256  # characters of what a caller has written
_METHODS = frozenset(HTTPMethod)
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,64}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_FAILED_CALLS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
_EMPTY = Context()


@asynccontextmanager
async def followed(url: str) -> AsyncIterator[Trails | None]:
    """Follows requests meanwhile, and sends what they leave to a collector, from a thread of OpenTelemetry's own.

    `url` is where it takes OTLP over HTTP, or `ENVIRONMENT`. What cannot be sent is dropped. None where
    OTEL_SDK_DISABLED says so.

    Raises:
        TelemetryError: a variable of OpenTelemetry's has no meaning.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield None
        return
    _quieten()
    _check_variables()
    try:
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=_endpoint(url))))
    except ValueError as error:
        raise TelemetryError(f"traces: {error}") from error
    try:
        yield Telemetry(provider)
    finally:
        # Not in a pool of threads: its end would be waited for, however long a collector takes that does not answer.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _GRACE)


def _endpoint(url: str) -> str | None:
    """As OTEL_EXPORTER_OTLP_ENDPOINT names a collector, or with the path that it takes traces at."""
    if url == ENVIRONMENT:
        return None
    base = url.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def _check_variables() -> None:
    """Sees to it that what may hold a secret is well-formed: OpenTelemetry would put it into the log if it were not.

    Raises:
        TelemetryError: it is not.
    """
    for name in _ENDPOINTS:
        if (url := os.environ.get(name)) and not COLLECTOR.fullmatch(url):
            raise TelemetryError(f"traces: {name} is no URL such as http://collector:4318")
    for name in _HEADERS:
        if not all("=" in header for header in os.environ.get(name, "").split(",") if header.strip()):
            raise TelemetryError(f"traces: {name} is to have headers such as name=value, with commas between them")


def _resource() -> Resource:
    """What OpenTelemetry's variables say that this is, and else what it is."""
    known = Resource({SERVICE_VERSION: service.__version__}).merge(Resource.create())
    is_named = not str(known.attributes[SERVICE_NAME]).startswith("unknown_service")
    return known if is_named else known.merge(Resource({SERVICE_NAME: "digitscope"}))


class _Seldom(logging.Filter):
    """Lets a line through once in a while."""

    _last = -_QUIET

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Whether it may pass."""
        now = time.monotonic()
        if now - self._last < _QUIET:
            return False
        self._last = now
        return True


def _quieten() -> None:
    """Has OpenTelemetry say that a collector cannot be reached, and neither each try nor what callers send."""
    for name in ("opentelemetry.trace", "opentelemetry.util.re"):  # which have a line for each odd header
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Seldom) for each in logger.filters):
            logger.addFilter(_Seldom())
    logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").setLevel(logging.ERROR)


class _Fields(Getter[Mapping[bytes, bytes]]):
    """Header fields by name, as OpenTelemetry asks for them."""

    def get(self, carrier: Mapping[bytes, bytes], key: str) -> list[str] | None:
        """The values of a field, which are one here."""
        value = carrier.get(key.encode())
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Mapping[bytes, bytes]) -> list[str]:
        """The names of all."""
        return [name.decode("latin-1") for name in carrier]


class Telemetry:
    """The trails of requests as spans of a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("digitscope", service.__version__, _SCHEMA)
        self._propagator = TraceContextTextMapPropagator()
        self._fields = _Fields()

    def begin(
        self,
        fields: Mapping[bytes, bytes],
        method: str,
        path: str,
        started: float,
        caller: str | None = None,
        rpc: str | None = None,
    ) -> Trail:
        """The trail of a request, as `Trails` has it."""
        context = _EMPTY
        if b"traceparent" in fields:
            context = self._propagator.extract(fields, _EMPTY, self._fields)
        facts = _of_call(rpc) if rpc else _of_request(fields, method, path)
        if caller is not None:
            facts["client.address"] = caller
        began = time.time_ns() - int((time.perf_counter() - started) * 1e9)
        name = rpc or _method(method, "HTTP")
        span = self._tracer.start_span(name, context, SpanKind.SERVER, facts, start_time=began)
        return _Trail(self._tracer, span, name, started, began)


def _method(method: str, other: str) -> str:
    return method if method in _METHODS else other


def _of_call(rpc: str) -> dict[str, str | int]:
    return {"rpc.system.name": "grpc", "rpc.method": rpc}


def _of_request(fields: Mapping[bytes, bytes], method: str, path: str) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "http.request.method": _method(method, "_OTHER"),
        "url.path": path[:_LONGEST],
        "url.scheme": "http",
    }
    if method not in _METHODS:
        facts["http.request.method_original"] = method[:_LONGEST]
    if (agent := fields.get(b"user-agent")) is not None:
        facts["user_agent.original"] = agent[:_LONGEST].decode("latin-1")
    if host := _HOST.fullmatch(fields.get(b"host", b"")):
        facts["server.address"] = host[1].decode()
        if host[2]:
            facts["server.port"] = int(host[2])
    return facts


class _Trail:
    """A request's span. Those of its stages are made at its end, when it has been answered."""

    __slots__ = (
        *("_began", "_name", "_recorded", "_span", "_stages", "_started", "_tracer"),
        *("answering", "header", "span_id", "trace_id"),
    )

    def __init__(self, tracer: Tracer, span: Span, name: str, started: float, began: int) -> None:
        """`began` is `started` in nanoseconds since the epoch."""
        self._tracer = tracer
        self._span = span
        self._name = name
        self._started = started
        self._began = began
        self._recorded = span.is_recording()
        self._stages: list[tuple[str, float, float, Facts]] = []
        self.answering: float | None = None
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.span_id = f"{context.span_id:016x}"
        returned = f"00-{self.trace_id}-{self.span_id}-{context.trace_flags:02x}"
        self.header = (b"traceresponse", returned.encode())

    def stage(self, name: str, began: float, ended: float, facts: Facts = NONE) -> None:
        """Keeps a stage."""
        if self._recorded:
            self._stages.append((name, began, ended, facts))

    def end(self, route: str, status: int, code: str | None = None) -> None:
        """Ends the span, with all its stages."""
        if not self._recorded:
            return
        ended = time.perf_counter()
        if self.answering is not None:
            self._stages.append(("answer", self.answering, ended, NONE))
        context = set_span_in_context(self._span, _EMPTY)
        for name, began, over, facts in self._stages:
            self._tracer.start_span(name, context, attributes=facts, start_time=self._time(began)).end(self._time(over))
        if code is None:
            self._tell_status(route, status)
        else:
            self._tell_code(code)
        self._span.end(self._time(ended))

    def _time(self, moment: float) -> int:
        return self._began + int((moment - self._started) * 1e9)

    def _tell_status(self, route: str, status: int) -> None:
        if route != UNKNOWN:
            self._span.update_name(f"{self._name} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:  # what the caller did wrong is no error of the service
            self._fail(str(status))

    def _tell_code(self, code: str) -> None:
        self._span.set_attribute("rpc.response.status_code", code)
        if code in _FAILED_CALLS:
            self._fail(code)

    def _fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)
