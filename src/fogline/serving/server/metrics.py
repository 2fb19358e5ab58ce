"""Numbers for Prometheus, made from plain counts when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fogline.registry.release import BUCKETS
from fogline.serving.server.repository import Repository
from fogline.serving.server.served import Served

BY_VERSION = ("model", "version")
EDGES = (*(f"{bound:.6g}" for bound in BUCKETS), "+Inf")


def as_text(repository: Repository, refused: Counter[int]) -> bytes:
    """All numbers, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Models(repository, refused))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Models(Collector):
    def __init__(self, repository: Repository, refused: Counter[int]) -> None:
        self._repository = repository
        self._refused = refused

    def collect(self) -> Iterable[Metric]:
        served = list(self._repository)
        yield _latency(served)
        yield _counter("fogline_failures", "Requests that a model could not answer", served, "failed")
        yield _counter("fogline_examples", "Examples that were answered", served, "rows")
        yield _counter("fogline_batches", "Runs of a model", served, "batches")
        yield _counter("fogline_offloaded", "Examples that a tier above answered", served, "offloaded")
        yield _counter("fogline_compared", "Answers that a shadow was compared on", served, "compared")
        yield _counter("fogline_compared_not", "Answers that a shadow had no time for", served, "dropped")
        yield _watched("fogline_labels", "Labels that came later", served, "labels")
        yield _watched("fogline_correct", "Of these, answers that were right", served, "correct")
        yield _watched("fogline_confident", "Examples that were looked at for confidence", served, "confident")
        yield _watched("fogline_confidence", "Sum of their confidence", served, "confidence")
        yield self._live(served)
        yield self._refusals()

    def _live(self, served: list[Served]) -> Metric:
        metric = GaugeMetricFamily("fogline_live", "Whether a version answers for its model", labels=BY_VERSION)
        for one in served:
            live = self._repository.lines[one.card.model].live is one
            metric.add_metric([one.card.model, one.version], float(live))
        return metric

    def _refusals(self) -> Metric:
        metric = CounterMetricFamily("fogline_refusals", "Requests that were refused", labels=("status",))
        for status, count in self._refused.items():
            metric.add_metric([str(status)], count)
        return metric


def _counter(name: str, text: str, served: Iterable[Served], field: str) -> Metric:
    metric = CounterMetricFamily(name, text, labels=BY_VERSION)
    for one in served:
        metric.add_metric([one.card.model, one.version], getattr(one.counts, field))
    return metric


def _watched(name: str, text: str, served: Iterable[Served], field: str) -> Metric:
    metric = CounterMetricFamily(name, text, labels=BY_VERSION)
    for one in served:
        metric.add_metric([one.card.model, one.version], getattr(one.tally, field))
    return metric


def _latency(served: Iterable[Served]) -> Metric:
    metric = HistogramMetricFamily("fogline_request_seconds", "Time from a request to its answer", labels=BY_VERSION)
    for one in served:
        buckets = list(zip(EDGES, accumulate(map(float, one.counts.latency)), strict=True))
        metric.add_metric([one.card.model, one.version], buckets, one.counts.requests_ns / 1e9)
    return metric
