"""What each place gets to see in a run, taken down as it comes off the links: after stages, sums and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from fogline.aggregation import Partial, Update
from fogline.aggregation.rules import make_rule
from fogline.aggregation.weights import is_per_number
from fogline.algorithms.group import Down
from fogline.jobs import Job
from fogline.jobs.planning import LocalPlan, assign
from fogline.jobs.protection.protection import protection_of
from fogline.nodes.effects import Move
from fogline.params import Counters, Params, Vector
from fogline.simulation.values import LazyValue, Training
from fogline.simulation.witness import RunWitness
from fogline.training.task import Task

MODEL = "model"
"""The place of whoever gets the models: devices, and those whom they are handed out to."""
KEPT_BYTES = 64 << 20
"""Of one round's views from one place that are kept."""
MOST_KEPT = 32


@dataclass(frozen=True, slots=True, eq=False)
class SeenTraining:
    """A device's local round: what an aggregator knows of it beside the update."""

    client: int
    """Position in ``data.clients``."""
    plan: LocalPlan
    start: Vector
    """(floats,) the model that it got."""
    counters: Counters
    clip: float | None = None
    """That came with the model, where it changes."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A movement of the model that somebody got to see."""

    place: str
    """The tier that saw it, or :data:`MODEL`."""
    round: int
    """Rounds of the root before."""
    members: tuple[SeenTraining, ...]
    """Whose training is in it."""
    movement: Vector
    """(P,) the weighted mean of their movements, as it was seen."""
    weight: float
    """What it counted: mostly the number of examples."""

    @property
    def samples(self) -> int:
        """Examples that are in it."""
        return sum(member.plan.samples for member in self.members)


class Tap(RunWitness):
    """Takes down what is seen. ``rounds``: of the root that are of interest."""

    def __init__(self, job: Job, movement: str, rounds: int) -> None:
        self.views: list[View] = []
        self.task: Task
        self._movement = movement
        self._rounds = rounds
        self._tiers = {node: tier for tier in job.tree.names for node in job.tree.nodes(tier)}
        self._root = job.tree.nodes(job.tree.names[0])[0]
        self._round = 0
        self._parents = job.tree.parents()
        self._tree = job.tree
        self._homes: list[str]
        """The aggregator above each device, by client."""
        self._under_way: dict[str, dict[int, SeenTraining]] = {node: {} for node in self._tiers}
        """Training whose update its aggregator has not taken up, by the order of the training."""
        self._inside: dict[str, list[SeenTraining]] = {node: [] for node in self._tiers}
        """What is in the next report of each aggregator."""
        self._model: Params
        self._kept: dict[tuple[str, int], int] = {}
        protection = protection_of(job)
        adapts = protection is not None and protection.privacy.quantile is not None
        self._over_clip = {protection.tier_of(depth) for depth in protection.sums} if protection and adapts else set()
        """Tiers that are sent movements over the clip of the round."""

    def begins(self, task: Task, shared: Params) -> None:
        """Note what the run begins with."""
        self.task, self._model = task, shared
        self._most = max(1, min(MOST_KEPT, KEPT_BYTES // max(1, shared.vector.nbytes)))
        self._names = set(task.data.clients)
        self._homes = assign(self._tree, task.data)

    def trained(self, training: Training) -> None:
        """Note whose training that is."""
        assert training.model is not None
        down: Down = training.model.result
        one = SeenTraining(training.client, training.plan, down.vector, down.counters, down.clip)
        self._under_way[self._homes[training.client]][training.order] = one

    def folded(self, node: str, children: Sequence[str], value: LazyValue, result: Update | Partial) -> None:
        """Note what an aggregator got, and whose it is."""
        if isinstance(value, Training):
            members = [self._under_way[node].pop(value.order)]
        elif children[0] == node:  # What an exchange with all that were asked has come to.
            members = self._all_below(node)
        elif children[0] in self._names:
            return  # Its devices' updates, which it has folded itself: each was seen as it came.
        else:
            members = [one for child in children for one in self._taken(child)]
        self._inside[node].extend(members)
        moved = _moved(result, self._movement)
        if moved is None:
            return
        tier, (movement, weight) = self._tiers[node], moved
        if tier in self._over_clip and members and members[0].clip is not None:
            movement = movement * movement.dtype.type(members[0].clip)
        self._keep(tier, members, movement, weight)

    def moved(self, move: Move, group: LazyValue) -> None:
        """Note how the model that is handed out has moved."""
        if not move.final:
            return
        spec, before, after = self.task.shared, self._model, group.result.vector
        members = self._taken(self._root)
        step = after[: spec.trainable] - before.vector[: spec.trainable]
        began = [SeenTraining(one.client, one.plan, before.vector, before.counters) for one in members]
        self._keep(MODEL, began, step, float(sum(one.plan.samples for one in members)))
        self._model = Params(spec, after.copy(), group.result.counters.copy())
        self._round += 1

    def _taken(self, node: str) -> list[SeenTraining]:
        """What is in an aggregator's report; the next one begins empty."""
        inside, self._inside[node] = self._inside[node], []
        return inside

    def _all_below(self, node: str) -> list[SeenTraining]:
        """What a sum over all that were asked speaks of; of one that has dropped out, it is not known here."""
        devices, self._under_way[node] = list(self._under_way[node].values()), {}
        below = [child for child, parent in self._parents.items() if parent == node]
        return devices + [one for child in below for one in self._taken(child)]

    def _keep(self, place: str, members: Sequence[SeenTraining], movement: Vector, weight: float) -> None:
        key = place, self._round
        kept = self._kept[key] = self._kept.get(key, 0) + 1
        if members and self._round < self._rounds and kept <= self._most:
            self.views.append(View(place, self._round, tuple(members), movement.copy(), weight))


def _moved(value: Update | Partial, pattern: str) -> tuple[Vector, float] | None:
    """The mean movement that a value speaks of, and its weight; None where it has none, or one for each of several
    models."""
    vectors = value.vectors if isinstance(value, Update) else value.sums
    names = [name for name in vectors if fnmatchcase(name, pattern)]
    if len(names) != 1:
        return None
    weight = float(np.mean(each)) if is_per_number(each := value.weights[names[0]]) else float(each)
    if not weight > 0:
        return None
    if isinstance(value, Update):
        return value.vectors[names[0]], weight
    fold = make_rule("exact" if value.sums[names[0]].dtype == np.int64 else "mean").fold()
    fold.merge(value)
    return fold.finish().mean(names[0]), weight
