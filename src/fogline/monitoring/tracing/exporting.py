"""Sends a node's traces to a collector, as OpenTelemetry's own variables of the environment say."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from fogline.monitoring.tracing.otel import OtelTracer


def exporting_tracer(node: str) -> OtelTracer:
    """Sends spans over OTLP (HTTP) from a thread of its own; to ``http://localhost:4318`` unless
    ``OTEL_EXPORTER_OTLP_ENDPOINT`` says otherwise. What the collector does not take is lost, and the log says so.

    Args:
        node: the node's name.
    """
    return OtelTracer(node, BatchSpanProcessor(OTLPSpanExporter()))
