"""Traces of events, as a collector on loopback is sent them."""

from __future__ import annotations

import gzip
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ground.adapters.otlp import open_traces
from ground.ports import Message
from protocols.bus.messages import Event, EventMessage
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso, unix_ns_from_tai_ns

S = 10**9
SCET = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")


class Collector(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        self.server.requests.append((self.path, request))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def test_nothing_is_loaded_where_no_collector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert open_traces("monitor") is None


def test_a_collector_without_the_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(LocalError, match=r"l4-relay-ground\[otel\]"):
        open_traces("monitor")


def test_an_event_from_light_to_publication(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    traces = open_traces("monitor")
    assert traces is not None
    event = Event("limit", "critical", "PWR", "low", SCET, SCET + 499 * S, SCET + 500 * S)
    told = EventMessage("5f1c", 42, 1000, (event,))
    published_ns = SCET + 501 * S
    traces.published(Message("events", "monitor", "aa", 7, published_ns, told.build()))
    traces.published(Message("link", "monitor", "", -1, 0, b"not an event"))
    traces.close()
    ((path, request),) = collector.requests
    assert path == "/v1/traces"
    (of_resource,) = request.resource_spans
    names = {one.key: one.value.string_value for one in of_resource.resource.attributes}
    assert names["service.name"] == "l4.monitor"
    spans = {span.name: span for scope in of_resource.scope_spans for span in scope.spans}
    assert set(spans) == {"limit PWR", "light", "receive", "monitor"}
    root = spans.pop("limit PWR")
    assert root.status.code == root.status.STATUS_CODE_ERROR
    values = {one.key: one.value for one in root.attributes}
    assert values["l4.event"].int_value == 1000
    assert values["l4.packets_sequence"].int_value == 42
    seconds = {}
    for name, span in spans.items():
        assert (span.trace_id, span.parent_span_id) == (root.trace_id, root.span_id)
        seconds[name] = (span.end_time_unix_nano - span.start_time_unix_nano) / S
    assert seconds == {"light": 499, "receive": 1, "monitor": 1}
    assert root.start_time_unix_nano == unix_ns_from_tai_ns(SCET)
    assert root.end_time_unix_nano == unix_ns_from_tai_ns(published_ns)


def test_hours_in_the_store_on_board_are_not_told_as_light_time(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    traces = open_traces("monitor")
    assert traces is not None
    day = 86_400 * S
    event = Event("spacecraft", "info", "X", "", SCET, SCET + day, SCET + day, playback=True)
    told = EventMessage("5f1c", 42, 1000, (event,))
    traces.published(Message("events", "monitor", "aa", 7, SCET + day, told.build()))
    traces.close()
    ((_, request),) = collector.requests
    scopes = request.resource_spans[0].scope_spans
    assert "stored, light" in {span.name for scope in scopes for span in scope.spans}


def test_a_collector_that_is_away_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    traces = open_traces("monitor")
    assert traces is not None
    event = Event("stale", "warning", "HK", "silent", 0, 0, SCET)
    told = EventMessage("5f1c", 1, 0, (event,))
    for _ in range(3):
        traces.published(Message("events", "monitor", "aa", 7, SCET, told.build()))
    traces.close()
