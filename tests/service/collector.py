"""A collector of traces: what comes by OTLP over HTTP, read by OpenTelemetry's own protobuf."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_PATIENCE = 30  # seconds
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
"""Variables of a service that sends what it has at once."""


@dataclass(frozen=True)
class Span:
    """A span as it came; ids in hexadecimal, times in nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    facts: dict[str, Any]
    failed: bool
    state: str
    resource: dict[str, Any]


@dataclass
class Collector:
    """What has come, and where it is sent to."""

    url: str
    spans: list[Span] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    headers: list[dict[str, str]] = field(default_factory=list)

    def wait(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """All spans, once there are enough."""
        deadline = time.monotonic() + _PATIENCE
        while not enough(self.spans):
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)
        return list(self.spans)

    def of(self, trace: str) -> dict[str, Span]:
        """The spans of a trace by name, once that of the request is there, which is sent last."""
        spans = self.wait(lambda spans: any(span.trace == trace and span.kind == 2 for span in spans))
        return {span.name: span for span in spans if span.trace == trace}


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def spans_of(body: bytes) -> Iterator[Span]:
    """The spans of a message."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _plain(span.attributes),
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    span.trace_state,
                    _plain(resource.resource.attributes),
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that runs meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.paths.add(self.path)
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            collector.spans.extend(spans_of(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
