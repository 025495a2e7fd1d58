"""Traces of events to an OpenTelemetry collector, where one is configured; else nothing at all.

Standard variables decide: OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) names the collector,
OTLP over HTTP.  Needs the extra `otel`.  One trace an event:

    limit PWR_BUS_VOLTAGE        SCET …………………………………………………… published
      light                      SCET ……… ERT
      receive                             ERT … reception
      monitor                                   reception … published

Instants are the run's, so at `--speed 60` a trace is sixty times as long as its wall time.
"""

from __future__ import annotations

import os
from typing import Any, Final

from ground.ports import Message
from protocols.bus.messages import Event, EventMessage, Severity, parse
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.timecodes.tai import unix_ns_from_tai_ns

VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def open_traces(service: str) -> EventTraces | None:
    """None: no collector is named.  LocalError: one is, and the extra is not installed."""
    if not any(os.environ.get(name) for name in VARIABLES):
        return None
    try:
        return EventTraces(service)
    except ImportError as error:
        raise LocalError(
            f"{' or '.join(VARIABLES)} is set and {error.name} is missing: "
            "pip install 'l4-relay-ground[otel]'"
        ) from error


class EventTraces:
    """`published` what a service says; spans leave in a thread, and are dropped, counted by the
    library, while the collector is away."""

    def __init__(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        resource = Resource.create({"service.name": f"l4.{service}"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("l4-relay-ground")
        self._inside = set_span_in_context
        self._critical = Status(StatusCode.ERROR)

    def published(self, message: Message) -> None:
        if message.topic == Topic.EVENTS:
            told = parse(EventMessage, message.body)
            for number, event in enumerate(told.events, told.first_event):
                self._trace(number, event, told, message)

    def _trace(self, number: int, event: Event, told: EventMessage, message: Message) -> None:
        attributes: dict[str, Any] = {
            "l4.event": number,
            "l4.kind": event.kind,
            "l4.severity": event.severity,
            "l4.text": event.text,
            "l4.playback": event.playback,
            "l4.packets_journal": told.journal,
            "l4.packets_sequence": told.sequence,
        }
        begin = event.scet_ns or event.ert_ns or event.reception_ns
        span = self._tracer.start_span(
            f"{event.kind} {event.name}", start_time=_unix(begin), attributes=attributes
        )
        if event.severity == Severity.CRITICAL:
            span.set_status(self._critical)
        steps = (
            # What was kept on board is hours on its way.
            ("stored, light" if event.playback else "light", event.scet_ns, event.ert_ns),
            ("receive", event.ert_ns, event.reception_ns),
            ("monitor", event.reception_ns, message.time_ns),
        )
        for name, start_ns, end_ns in steps:
            if start_ns and end_ns:
                child = self._tracer.start_span(
                    name, context=self._inside(span), start_time=_unix(start_ns)
                )
                child.end(_unix(max(start_ns, end_ns)))
        span.end(_unix(max(begin, message.time_ns)))

    def close(self) -> None:
        """What waits is sent, or dropped after some seconds."""
        self._provider.shutdown()


def _unix(tai_ns: int) -> int:
    return int(unix_ns_from_tai_ns(tai_ns))
