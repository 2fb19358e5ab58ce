"""What a cloud measures beside what every node does: its fleet, its jobs, its models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

from fogline.monitoring.metrics.exposition import Family, Measured, MetricSample
from fogline.network.cloud.job_store import JobStore
from fogline.network.cloud.records import JobProgress, JobState, NodeInfo
from fogline.network.cloud.scheduler import JobScheduler
from fogline.registry.publisher import Publisher

JOB = ("job_id",)
"""Prometheus itself has a label `job`."""
NODES = Family("fogline_cloud_nodes", "gauge", "Nodes of the whole tree that were ever connected", ("role", "state"))
WARNED = Family("fogline_cloud_nodes_with_warning", "gauge", "Nodes of which an operator must know something")
JOBS = Family("fogline_cloud_jobs", "gauge", "Jobs by state", ("state",))
ROUND = Family("fogline_job_round", "gauge", "Rounds that a running job has made", JOB)
ROUNDS = Family("fogline_job_rounds", "gauge", "Rounds that it is to make", JOB)
MOVED = Family(
    "fogline_job_last_round_timestamp_seconds", "gauge", "Unix time at which its last round ended, or it began", JOB
)
DEVICES = Family("fogline_job_devices", "gauge", "Devices whose updates are in its last round", JOB)
HEADLINE = Family(
    "fogline_job_headline", "gauge", "The metric that it is judged by, as of its last round", (*JOB, "metric")
)
SINCE_BEST = Family("fogline_job_rounds_since_best", "gauge", "Rounds since that metric was best", JOB)
LOSS = Family("fogline_job_loss", "gauge", "Loss of its model, where the task measures one", JOB)
SPENT = Family("fogline_job_privacy_spent_epsilon", "gauge", "What it has given away of each unit", JOB)
LIMIT = Family("fogline_job_privacy_limit_epsilon", "gauge", "What it may give away", JOB)
MISHAPS = Family("fogline_job_mishaps_total", "counter", "What went wrong in it, by kind", (*JOB, "kind"))
DRIFT = Family(
    "fogline_model_drift_psi", "gauge", "How far the inputs of a version have moved from training", ("model", "version")
)
KINDS = frozenset(
    {"abandoned", "away", "broken", "clipped", "dropped", "early", "failed", "forgotten", "late", "left", "missing"}
    | {"quarantined", "refused", "released", "spent", "stale", "stopped", "superseded", "surplus", "unfinished"}
)
"""What nodes tell of jobs."""
FAMILIES = (
    *(NODES, WARNED, JOBS, ROUND, ROUNDS, MOVED, DEVICES, HEADLINE, SINCE_BEST, LOSS, SPENT, LIMIT, MISHAPS),
    DRIFT,
)


class CloudMetrics:
    """A cloud's own metrics. Jobs have some while they run.

    Args:
        scheduler: its jobs.
        publisher: its models.
    """

    def __init__(self, scheduler: JobScheduler, publisher: Publisher) -> None:
        self._scheduler = scheduler
        self._publisher = publisher

    def measured(self) -> Measured:
        """These metrics now."""
        store = self._scheduler.job_store
        yield from _of_nodes(store.nodes.values())
        yield from _of_states(store)
        running = self._scheduler.progress()
        yield ROUND, [MetricSample(one.record.done, (one.record.job,)) for one in running]
        yield ROUNDS, [MetricSample(one.record.rounds, (one.record.job,)) for one in running]
        yield MOVED, [MetricSample(one.moved, (one.record.job,)) for one in running]
        yield from _of_rounds(running)
        yield from _of_mishaps(running)
        yield from _of_budgets(running)
        yield (
            DRIFT,
            [
                MetricSample(psi, (model, str(version)))
                for model, found in sorted(self._publisher.drift().items())
                for version, psi in found.items()
            ],
        )


def _of_nodes(nodes: Iterable[NodeInfo]) -> Measured:
    known = list(nodes)
    counted = Counter((node.role, "up" if node.up else "away") for node in known)
    roles = ("fog", "device")
    yield NODES, [MetricSample(counted[role, state], (role, state)) for role in roles for state in ("up", "away")]
    yield WARNED, [MetricSample(sum(bool(node.warning) for node in known))]


def _of_states(store: JobStore) -> Measured:
    counted = Counter(record.state for record in store.records())
    yield JOBS, [MetricSample(counted[state], (state,)) for state in get_args(JobState)]


def _of_rounds(running: Iterable[JobProgress]) -> Measured:
    """What the last round of each job says."""
    moved = [one for one in running if one.history]
    yield DEVICES, _last(moved, "devices")
    judged = [(one, judged_of(one)) for one in moved]
    yield (
        HEADLINE,
        [MetricSample(values[-1], (one.record.job, one.record.headline)) for one, values in judged if values],
    )
    yield SINCE_BEST, [MetricSample(since_best(one, values), (one.record.job,)) for one, values in judged if values]
    yield LOSS, _last(moved, "loss")


def _of_mishaps(running: Iterable[JobProgress]) -> Measured:
    """Counts by kind. Nodes name kinds, so that those which are not known are counted as one."""
    counted: Counter[tuple[str, str]] = Counter()
    for one in running:
        for kind, count in one.mishaps.items():
            counted[one.record.job, kind if kind in KINDS else "other"] += count
    yield MISHAPS, [MetricSample(count, labels) for labels, count in sorted(counted.items())]


def _of_budgets(running: Iterable[JobProgress]) -> Measured:
    limited = [one for one in running if one.limit is not None]
    yield (
        SPENT,
        [
            MetricSample(one.history[-1].get("epsilon", 0.0) if one.history else 0.0, (one.record.job,))
            for one in limited
        ],
    )
    yield LIMIT, [MetricSample(one.limit, (one.record.job,)) for one in limited if one.limit is not None]


def _last(running: Iterable[JobProgress], key: str) -> list[MetricSample]:
    return [MetricSample(one.history[-1][key], (one.record.job,)) for one in running if key in one.history[-1]]


def judged_of(one: JobProgress) -> list[float]:
    """The metric that a job is judged by, in the rounds in which it was judged."""
    headline = one.record.headline
    return [row[headline] for row in one.history if headline in row]


def since_best(one: JobProgress, judged: Sequence[float]) -> int:
    """Rounds that were judged since the best of them; one that came to no number was never the best."""
    best = max if one.record.higher_is_better else min
    finite = [value for value in judged if math.isfinite(value)]
    return len(judged) - 1 - judged.index(best(finite)) if finite else len(judged)
