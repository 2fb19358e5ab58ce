"""Traces for OpenTelemetry: each node sends its own spans, and together they are one trace of a round.

Nothing more travels with a message for that. A request names its job and its round, and everybody knows its parent's
name: the ids of the trace and of each node's span are hashes of these (16 and 8 bytes, as W3C Trace Context has them).
So nodes that send no traces leave a gap and nothing else, and no version of the protocol is concerned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator


def trace_id(job: str, round_: int) -> int:
    """Of a round of a job (16 bytes)."""
    return _hashed(16, job, str(round_))


def span_id(job: str, round_: int, node: str) -> int:
    """Of a node's part of it (8 bytes)."""
    return _hashed(8, job, str(round_), node)


def _hashed(size: int, *parts: str) -> int:
    whole = b"".join(hashlib.sha256(part.encode()).digest() for part in parts)
    return int.from_bytes(hashlib.sha256(b"fogline trace" + whole).digest()[:size], "big") or 1


class _Ids(RandomIdGenerator):
    """Gives the ids that were set for the next span, once; to others, random ones."""

    def __init__(self) -> None:
        self.trace: int | None = None
        self.span: int | None = None

    def generate_trace_id(self) -> int:
        found, self.trace = self.trace, None
        return super().generate_trace_id() if found is None else found

    def generate_span_id(self) -> int:
        found, self.span = self.span, None
        return super().generate_span_id() if found is None else found

    def is_trace_id_random(self) -> bool:
        return False


@dataclass
class _Open:
    request: int
    span: trace.Span
    facts: Mapping[str, str | int]
    """What the spans inside it bear too, so that who looks for a node's trainings finds them."""


class OtelTracer:
    """Traces a node's parts of rounds; see :class:`fogline.monitoring.tracing.tracer.Tracer`.

    Args:
        node: its name.
        processor: takes the spans.
    """

    def __init__(self, node: str, processor: SpanProcessor) -> None:
        self._node = node
        self._ids = _Ids()
        resource = Resource.create({"service.name": "fogline", "service.instance.id": node})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("fogline")
        self._open: dict[str, _Open] = {}

    def close(self) -> None:
        """Send what is left."""
        for job in list(self._open):
            self._abandon(job)
        self._provider.shutdown()

    def begin(self, job: str, round_: int, request: int, parent: str = "") -> None:
        """See :class:`fogline.monitoring.tracing.tracer.Tracer`."""
        if job in self._open and self._open[job].request == request:
            return  # It is asked again.
        self._abandon(job)
        self._ids.trace, self._ids.span = trace_id(job, round_), span_id(job, round_, self._node)
        above = None if not parent else _remote(job, round_, parent)
        facts = {"fogline.job": job, "fogline.round": round_ + 1, "fogline.node": self._node}
        self._open[job] = _Open(request, self._tracer.start_span("round", above, attributes=facts), facts)
        self._ids.trace = None  # Who has a parent takes its trace.

    def end(self, job: str, request: int) -> None:
        """See :class:`fogline.monitoring.tracing.tracer.Tracer`."""
        if job in self._open and self._open[job].request == request:
            self._open.pop(job).span.end()

    @contextmanager
    def work(self, what: str, job: str) -> Generator[None]:
        """See :class:`fogline.monitoring.tracing.tracer.Tracer`."""
        if job not in self._open:
            yield
            return
        part = self._open[job]
        with self._tracer.start_as_current_span(what, trace.set_span_in_context(part.span), attributes=part.facts):
            yield

    def _abandon(self, job: str) -> None:
        before = self._open.pop(job, None)
        if before is not None:
            before.span.set_status(trace.StatusCode.ERROR, "it came to nothing here")
            before.span.end()


def _remote(job: str, round_: int, node: str) -> Context:
    """What stands for another node's part of a round."""
    ids = trace.SpanContext(
        trace_id(job, round_), span_id(job, round_, node), True, trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(ids))
