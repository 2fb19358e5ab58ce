"""One trace of each round, over all nodes."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue

import pytest

from fogline.cli.failures import UsageError
from fogline.cli.options import Monitoring
from fogline.cli.running import attach_tracer
from tests.network.cluster import cluster, job
from tests.patience import PATIENCE

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fogline.monitoring.tracing.otel import OtelTracer, span_id, trace_id


def tracer(node: str, to: InMemorySpanExporter) -> OtelTracer:
    return OtelTracer(node, SimpleSpanProcessor(to))


def node_of(span: ReadableSpan) -> str:
    return str(span.resource.attributes["service.instance.id"])


def test_a_round_is_one_trace_from_the_cloud_to_the_devices(tmp_path: Path) -> None:
    spans = InMemorySpanExporter()

    async def play() -> str:
        async with cluster(tmp_path, fogs=1, devices=3) as made:
            for up in (made.cloud, *made.members.values()):
                if up.node.name != "client-2":  # It sends no traces, which concerns nobody else.
                    up.node.tracer = tracer(up.node.name, spans)
            record = await made.submit(job(rounds=2, fogs=1, clients=3))
            assert (await made.finish(record)).state == "finished"
            return record.job

    name = asyncio.run(play())
    by_trace: dict[int, dict[tuple[str, str], ReadableSpan]] = defaultdict(dict)
    for span in spans.get_finished_spans():
        assert span.context is not None
        by_trace[span.context.trace_id][node_of(span), span.name] = span
    assert by_trace.keys() == {trace_id(name, 0), trace_id(name, 1)}
    for number in range(2):
        found = by_trace[trace_id(name, number)]
        own = {node: span_id(name, number, node) for node in ("cloud", "fog", "client-0", "client-1")}
        above = {"cloud": None, "fog": own["cloud"], "client-0": own["fog"], "client-1": own["fog"]}
        rounds = {node: found[node, "round"] for node in own}
        for node, span in rounds.items():
            assert span.context is not None
            assert span.context.span_id == own[node]
            assert (None if span.parent is None else span.parent.span_id) == above[node]
            assert span.status.is_ok or span.status.is_unset
            assert span.attributes == {"fogline.job": name, "fogline.round": number + 1, "fogline.node": node}
        for node, what in (("client-0", "train"), ("client-1", "train"), ("fog", "aggregate"), ("cloud", "aggregate")):
            inside = found[node, what]
            assert inside.parent is not None
            assert inside.parent.span_id == own[node]
            assert inside.attributes == rounds[node].attributes
        assert not any(node == "client-2" for node, _ in found)
        began, ended = rounds["cloud"].start_time, rounds["cloud"].end_time
        assert began is not None
        assert ended is not None
        for node in ("fog", "client-0"):
            start = rounds[node].start_time
            assert start is not None
            assert began <= start <= ended


def test_what_comes_to_nothing_is_said_to(tmp_path: Path) -> None:
    spans = InMemorySpanExporter()
    one = tracer("fog", spans)
    one.begin("j", 0, 4, "cloud")
    one.begin("j", 0, 4, "cloud")  # The request came twice.
    one.end("j", 3)  # A report of before is sent once more.
    one.begin("j", 1, 5, "cloud")
    one.end("j", 5)
    one.end("j", 5)
    with one.work("aggregate", "j"):
        pass  # Nothing is open that it could belong to.
    one.begin("j", 2, 6, "cloud")
    one.close()
    found = [(span.attributes["fogline.round"], span.status.is_unset) for span in spans.get_finished_spans()]  # type: ignore[index]
    assert found == [(1, False), (2, True), (3, False)]


def test_jobs_and_rounds_never_share_a_trace() -> None:
    ids = {trace_id(job, round_) for job in ("a", "a1", "b") for round_ in range(12)}
    assert len(ids) == 36
    assert len({span_id("a", 0, node) for node in ("fog", "fog-0", "cloud")}) == 3


def test_spans_come_to_the_collector_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from fogline.monitoring.tracing.exporting import exporting_tracer

    came: SimpleQueue[tuple[str, bytes]] = SimpleQueue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        one = exporting_tracer("fog")
        one.begin("j", 0, 4, "cloud")
        one.end("j", 4)
        one.close()
        path, body = came.get(timeout=PATIENCE)
        server.shutdown()
        thread.join()
    assert path == "/v1/traces"
    message = ExportTraceServiceRequest.FromString(body)
    (span,) = message.resource_spans[0].scope_spans[0].spans
    assert span.trace_id == trace_id("j", 0).to_bytes(16, "big")
    assert span.span_id == span_id("j", 0, "fog").to_bytes(8, "big")
    assert span.parent_span_id == span_id("j", 0, "cloud").to_bytes(8, "big")


def test_without_the_library_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attach_tracer(Monitoring()) is None
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "fogline.monitoring.tracing.exporting", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'fogline\[otel\]'"):
        attach_tracer(Monitoring(traces=True))
