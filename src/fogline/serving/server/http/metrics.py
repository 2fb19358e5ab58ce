"""What a server tells Prometheus of the versions that it serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from fogline.monitoring.metrics import exposition, process
from fogline.monitoring.metrics.exposition import Family, Measured, MetricSample
from fogline.registry.release import BUCKETS
from fogline.serving.server.versions.repository import Repository
from fogline.serving.server.versions.served import ServedModel

KIND = exposition.TEXT
EDGES = (*(f"{bound:.6g}" for bound in BUCKETS), "+Inf")
OF = ("model", "version")

Value = Callable[[ServedModel], float]
LATENCY = Family(
    "fogline_request_seconds", "histogram", "Time from a request to its answer or failure, with all waiting", OF
)
_COUNTED: tuple[tuple[str, str, Value], ...] = (
    ("failures", "Requests that a model could not answer", lambda s: s.counts.failed),
    ("examples", "Examples that were answered", lambda s: s.counts.rows),
    ("batches", "Runs of a model", lambda s: s.counts.batches),
    ("offloaded", "Examples that a tier above answered", lambda s: s.counts.offloaded),
    ("compared", "Examples on which a shadow was compared", lambda s: s.counts.compared),
    ("compared_not", "Examples that a shadow had no time for", lambda s: s.counts.dropped),
    ("labels", "Labels that came later", lambda s: s.tally.labels),
    ("correct", "Of these, answers that were right", lambda s: s.tally.correct),
    ("confident", "Examples that were looked at for confidence", lambda s: s.tally.confident),
    ("confidence", "Sum of their confidence", lambda s: s.tally.confidence),
)
COUNTERS = tuple((Family(f"fogline_{name}_total", "counter", text, OF), value) for name, text, value in _COUNTED)
"""Of every version."""
EXITS = Family("fogline_exits_total", "counter", "Examples by the early exit that answered them", (*OF, "exit"))
LIVE = Family("fogline_live", "gauge", "Whether a version answers for its model", OF)
PERSONAL = Family("fogline_personal_round", "gauge", "Round of the part of a version that is this device's own", OF)
REFUSALS = Family("fogline_refusals_total", "counter", "Requests that were refused, by status", ("status",))
FAMILIES = (LATENCY, *(family for family, _ in COUNTERS), EXITS, LIVE, PERSONAL, REFUSALS)


def as_text(repository: Repository, refused: Counter[int]) -> bytes:
    """All metrics in the text format of Prometheus."""
    served = list(repository)
    latency = "".join(f"{line}\n" for line in _latency(served)).encode()
    return latency + exposition.as_text(_measured(repository, served, refused)) + exposition.as_text(process.measured())


def _measured(repository: Repository, served: list[ServedModel], refused: Counter[int]) -> Measured:
    for family, value in COUNTERS:
        yield family, [MetricSample(value(one), _of(one)) for one in served]
    yield EXITS, list(_exits(served))
    yield LIVE, [MetricSample(int(repository.lines[one.card.model].live is one), _of(one)) for one in served]
    yield PERSONAL, [MetricSample(one.personal.rounds, _of(one)) for one in served if one.personal is not None]
    yield REFUSALS, [MetricSample(count, (str(status),)) for status, count in refused.items()]


def _latency(served: Iterable[ServedModel]) -> Iterator[str]:
    name = LATENCY.name
    yield from exposition.head(LATENCY)
    for one in served:
        labels = exposition.labelled(OF, _of(one))
        for edge, count in zip(EDGES, accumulate(one.counts.latency), strict=True):
            yield f'{name}_bucket{{{labels},le="{edge}"}} {count}'
        counts = one.counts
        yield f"{name}_sum{{{labels}}} {(counts.requests_ns + counts.failed_ns) / 1e9}"
        yield f"{name}_count{{{labels}}} {counts.requests + counts.failed}"


def _exits(served: Iterable[ServedModel]) -> Iterator[MetricSample]:
    for one in served:
        if one.early_exit is not None and one.card.exits is not None:
            for output, count in zip(one.card.exits.outputs, one.early_exit.left, strict=True):
                yield MetricSample(count, (*_of(one), output))


def _of(served: ServedModel) -> tuple[str, str]:
    return served.card.model, str(served.version)
