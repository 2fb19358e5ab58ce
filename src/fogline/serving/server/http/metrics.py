"""Numbers for Prometheus, written in its text format from plain counts when they are asked for.

The library for this would take 3 MB of memory in every server, for these lines.
"""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import msgspec

from fogline.registry.release import BUCKETS
from fogline.serving.server.versions.repository import Repository
from fogline.serving.server.versions.served import ServedModel

KIND = b"text/plain; version=0.0.4; charset=utf-8"
EDGES = (*(f"{bound:.6g}" for bound in BUCKETS), "+Inf")
STARTED = time.time()

Value = Callable[[ServedModel], float]
COUNTERS: tuple[tuple[str, str, Value], ...] = (
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
"""Of every version."""


def as_text(repository: Repository, refused: Counter[int]) -> bytes:
    """All metrics in the text format of Prometheus."""
    return "".join(f"{line}\n" for line in _lines(repository, refused)).encode()


def _lines(repository: Repository, refused: Counter[int]) -> Iterator[str]:
    served = list(repository)
    yield from _latency(served)
    for name, text, value in COUNTERS:
        yield from _head(f"fogline_{name}_total", "counter", text)
        yield from (f"fogline_{name}_total{{{_names(one)}}} {value(one)}" for one in served)
    yield from _exits(served)
    yield from _head("fogline_live", "gauge", "Whether a version answers for its model")
    for one in served:
        yield f"fogline_live{{{_names(one)}}} {int(repository.lines[one.card.model].live is one)}"
    yield from _head("fogline_personal_round", "gauge", "Round of the part of a version that is this device's own")
    for one in served:
        if one.personal is not None:
            yield f"fogline_personal_round{{{_names(one)}}} {one.personal.rounds}"
    yield from _head("fogline_refusals_total", "counter", "Requests that were refused, by status")
    yield from (f'fogline_refusals_total{{status="{status}"}} {count}' for status, count in refused.items())
    yield from _process()


def _latency(served: Iterable[ServedModel]) -> Iterator[str]:
    name = "fogline_request_seconds"
    yield from _head(name, "histogram", "Time from a request to its answer or failure, with all waiting")
    for one in served:
        for edge, count in zip(EDGES, accumulate(one.counts.latency), strict=True):
            yield f'{name}_bucket{{{_names(one)},le="{edge}"}} {count}'
        counts = one.counts
        yield f"{name}_sum{{{_names(one)}}} {(counts.requests_ns + counts.failed_ns) / 1e9}"
        yield f"{name}_count{{{_names(one)}}} {counts.requests + counts.failed}"


def _exits(served: Iterable[ServedModel]) -> Iterator[str]:
    name = "fogline_exits_total"
    yield from _head(name, "counter", "Examples by the early exit that answered them")
    for one in served:
        if one.early_exit is not None and one.card.exits is not None:
            for output, count in zip(one.card.exits.outputs, one.early_exit.left, strict=True):
                yield f"{name}{{{_names(one)},exit={msgspec.json.encode(output).decode()}}} {count}"


def _process() -> Iterator[str]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    for name, kind, text, value in (
        ("process_cpu_seconds_total", "counter", "Processor time", used.ru_utime + used.ru_stime),
        ("process_start_time_seconds", "gauge", "Unix time at which it began", STARTED),
        ("process_resident_memory_bytes", "gauge", "Memory", _memory(used.ru_maxrss)),
    ):
        yield from _head(name, kind, text)
        yield f"{name} {value}"


def _memory(peak: int) -> int:
    """Bytes of memory now; the most there were, in KiB, where the system does not say."""
    here = Path("/proc/self/statm")
    return int(here.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if here.exists() else peak * 1024


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _names(served: ServedModel) -> str:
    """Labels; names of models need no escapes."""
    return f'model="{served.card.model}",version="{served.version}"'
