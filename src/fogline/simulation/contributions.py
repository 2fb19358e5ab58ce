"""What each device, or each group of devices below an aggregator, is worth to a job's model: for partners' accounts.

The worth of a part is what the model's metric gains by it, over runs of the job with some of the parts and without the
others. *Leave-one-out* is what is lost without a part; two parts with the same data are worth nothing by it, as each
makes up for the other. The *Shapley value* (Shapley, 1953) is the gain on joining, averaged over all orders in which
the parts could join: those of all parts add up to what the whole gains. It is estimated from random orders, each cut
off where nothing is left to gain (TMC-Shapley: Ghorbani and Zou, 2019, arXiv:1904.02868, algorithm 1).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fogline.jobs import Job, JobError
from fogline.jobs.planning import assign
from fogline.monitoring.mishaps import RunError
from fogline.simulation.run import run
from fogline.training.figures import metrics_of, sums_on_test
from fogline.training.task import Task


@dataclass(frozen=True)
class Estimate:
    """A mean, and its standard error; the error is not a number where there is one value only."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of values that were drawn independently of each other."""
        count = len(values)
        error = float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else math.nan
        return cls(float(np.mean(values)), error)


@dataclass(frozen=True)
class ContributionTable:
    """What the parts of a job are worth, in its metric; more is better, also where the metric is a loss."""

    metric: str
    untrained: float
    """The metric of the model that nobody has trained,"""
    whole: float
    """and of the one that all have."""
    left_out: Mapping[str, Estimate]
    """What is lost without each part, over seeds."""
    shapley: Mapping[str, Estimate]
    """Shapley values, over orders."""
    runs: int
    """Runs of the job that this took."""


@dataclass
class _Worth:
    """What a coalition of parts reaches: each is trained once for each seed."""

    job: Job
    task: Task
    parts: Mapping[str, tuple[str, ...]]
    tell: Callable[[str], None]
    known: dict[tuple[frozenset[str], int], float] = field(default_factory=dict[tuple[frozenset[str], int], float])

    @property
    def sign(self) -> float:
        return 1.0 if self.task.higher_is_better else -1.0

    def of(self, members: frozenset[str], seed: int) -> float:
        """The metric with these parts, negated where less is better."""
        key = (members, seed)
        if key not in self.known:
            self.known[key] = self.sign * self._metric(members, seed)
            self.tell(f"{len(self.known):,} runs: {self.task.headline} {self.sign * self.known[key]:.4g}")
        return self.known[key]

    def _metric(self, members: frozenset[str], seed: int) -> float:
        if not members:
            return self._untrained(seed)
        task, clients = copy.copy(self.task), {client for part in members for client in self.parts[part]}
        away = [client for client in self.task.data.clients if client not in clients]
        task.data = self.task.data.with_held_out(away) if away else self.task.data
        try:
            metrics = run(_smaller(self.job, len(clients), seed), task, progress=False).metrics
        except RunError:
            return self._untrained(seed)  # They are too few for a round.
        return metrics[self.task.headline]

    def _untrained(self, seed: int) -> float:
        assert self.task.data.test is not None
        params = self.task.initial(seed)
        return metrics_of(self.task, sums_on_test(self.task, params, self.task.data.test))[self.task.headline]


def contributions(
    job: Job,
    task: Task,
    *,
    by_group: bool = False,
    seeds: int = 2,
    orders: int = 8,
    tolerance: float = 0.005,
    tell: Callable[[str], None] = lambda _: None,
) -> ContributionTable:
    """What each part of a job is worth.

    Args:
        job: any; a tier has at most as many aggregators as there are devices in a run.
        task: model and data, with a test set, by which it is judged.
        by_group: whether a part is all devices below an aggregator of the last tier; else each device is one.
        seeds: runs of each leave-one-out, under seeds from the job's on.
        orders: random orders for the Shapley values, under the job's seed.
        tolerance: of the metric's whole gain: a share below which an order is cut off, from 0 (never) to 1.
        tell: told of every run.

    Raises:
        JobError: there are fewer than two parts, no test set, or a number is impossible.
        CodeError: the task's own code is wrong.
    """
    if task.data.test is None:
        raise JobError(f"The data set '{task.data.name}' has no test set, by which contributions are judged")
    if seeds < 1 or orders < 1 or not 0 <= tolerance <= 1:
        raise JobError("contributions need at least 1 seed and 1 order, and a tolerance from 0 to 1")
    parts = _parts(job, task, by_group)
    worth = _Worth(job, task, parts, tell)
    everyone = frozenset(parts)
    lost: dict[str, list[float]] = {part: [] for part in parts}
    for seed in range(job.seed, job.seed + seeds):
        for part in parts:
            lost[part].append(worth.of(everyone, seed) - worth.of(everyone - {part}, seed))
    gained = _gains(worth, list(parts), job.seed, orders, tolerance)
    return ContributionTable(
        task.headline,
        worth.sign * worth.of(frozenset(), job.seed),
        worth.sign * worth.of(everyone, job.seed),
        {part: Estimate.of(values) for part, values in lost.items()},
        {part: Estimate.of(values) for part, values in gained.items()},
        sum(bool(members) for members, _ in worth.known),
    )


def _gains(worth: _Worth, parts: list[str], seed: int, orders: int, tolerance: float) -> dict[str, list[float]]:
    """What each part adds on joining, for each of some random orders."""
    rng, gained = np.random.default_rng(seed), {part: list[float]() for part in parts}
    whole = worth.of(frozenset(parts), seed)
    least = tolerance * abs(whole - worth.of(frozenset(), seed))
    for _ in range(orders):
        members, before = frozenset[str](), worth.of(frozenset(), seed)
        for place in rng.permutation(len(parts)):
            part, now = parts[int(place)], before
            # Who joins when as good as all is gained adds nothing: the runs are not worth it.
            if abs(whole - before) >= least or not least:
                members |= {part}
                now = worth.of(members, seed)
            gained[part].append(now - before)
            before = now
    return gained


def _parts(job: Job, task: Task, by_group: bool) -> dict[str, tuple[str, ...]]:
    """Clients by part."""
    clients = list(task.data.clients)
    above = assign(job.tree, task.data) if by_group else clients
    parts = {part: tuple(c for c, one in zip(clients, above, strict=True) if one == part) for part in above}
    if len(parts) < 2:
        raise JobError("contributions compare parts, and there is one only; give the job's last tier a larger count")
    return parts


def _smaller(job: Job, devices: int, seed: int) -> Job:
    """The job for so many devices."""
    tiers = {
        name: tier if place == 0 else tier.model_copy(update={"count": min(tier.count, devices)})
        for place, (name, tier) in enumerate(job.tree.tiers.items())
    }
    return job.model_copy(update={"seed": seed, "tree": job.tree.model_copy(update={"tiers": tiers})})
