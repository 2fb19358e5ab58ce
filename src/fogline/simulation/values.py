"""Values that are computed when they are needed.

On the virtual clock nobody looks at a model's numbers between two judgements, so the simulator only notes what
has to be computed: this training from that model, this fold of those updates. When a result is needed, all
training that it rests on runs in cohorts as large as the dependencies allow, also across fogs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from fogline.aggregation import Folded, Partial, Update, Weight, is_per_number
from fogline.aggregation.gathering import Keep
from fogline.aggregation.spill import Spill
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import Down
from fogline.compute.device import client_job
from fogline.compute.folding import NOTHING, RoundFold
from fogline.compute.whole_updates import WholeUpdates
from fogline.jobs.planning import LocalPlan
from fogline.params import State
from fogline.simulation.staging import Staging
from fogline.training.local import ClientJob
from fogline.user_code.bugs import CodeError

_serial = itertools.count()
UNCLAIMED = 2**62
"""Rank of training that no fold has taken yet: after all others."""


class LazyValue:
    """Something that is computed at most once. ``order`` is that of creation."""

    __slots__ = ("done", "order", "result")

    def __init__(self, result: Any = None, done: bool = True) -> None:
        self.order = next(_serial)
        self.result = result
        self.done = done

    def needs(self) -> Iterable[LazyValue]:
        """What must be computed before it."""
        return ()

    def compute(self) -> Any:
        """The result, from finished inputs."""
        return self.result

    def settle(self, result: Any) -> None:
        """The result is there; let go of the inputs."""
        self.result, self.done = result, True


class ComputedValue(LazyValue):
    """A function of other values."""

    __slots__ = ("_function", "_inputs")

    def __init__(self, function: Callable[..., Any], *inputs: LazyValue) -> None:
        super().__init__(done=False)
        self._function = function
        self._inputs = inputs

    def needs(self) -> Iterable[LazyValue]:
        return self._inputs

    def compute(self) -> Any:
        return self._function(*(value.result for value in self._inputs))

    def settle(self, result: Any) -> None:
        super().settle(result)
        self._inputs = ()


class ForgedValue(LazyValue):
    """What a malicious node sends in place of its report."""


class Training(LazyValue):
    """A device's local round; its result is an update, or None after a failure."""

    __slots__ = ("client", "consumer", "failure", "loss_rms", "model", "plan", "rank")

    def __init__(self, client: int, model: LazyValue, plan: LocalPlan) -> None:
        self.order = order = next(_serial)  # All of Value's, without the call: there is one of these an update.
        self.result: Any = None
        self.done = False
        self.client = client
        self.model: LazyValue | None = model
        self.plan = plan
        self.loss_rms: float | None = None
        self.failure: str | None = None
        self.consumer: Folding | None = None
        self.rank: tuple[int, int] = (UNCLAIMED, order)
        """Place in a cohort: by the fold that takes the update and the place in it. Free of virtual time, so
        that a cohort's order is that of the seed."""

    def needs(self) -> Iterable[LazyValue]:
        return () if self.model is None else (self.model,)

    def settle(self, result: Any) -> None:
        self.result, self.done, self.model = result, True, None

    def job(self, local: State) -> ClientJob:
        """The training as an engine takes it."""
        assert self.model is not None
        return client_job(self.client, self.model.result, self.plan, local)


class Folding(LazyValue):
    """A fold of updates and partial results, in the order given. Members are let go as they are folded.

    Args:
        fold: an empty one.
        members: values and the scale of each.
        merge: whether the result is a partial for the parent (else a finished fold); None if nothing was folded.
        refused: told of every member that could not be used, with the reason.
        votes: how many children a member speaks for.
        where: the fold is made, by which a bug of its rule is named.
        children: who sent each, where the fold asks; empty where it does not.
        seen: told of the place of every member, and of the member, before it is folded.
        base: the group that moves by it, where the rule remembers what it made of the round before.
    """

    __slots__ = (
        "_base",
        "_children",
        "_fed",
        "_fold",
        "_members",
        "_merge",
        "_refused",
        "_seen",
        "_votes",
        "_where",
        "wanted",
    )

    def __init__(
        self,
        fold: RoundFold,
        members: Sequence[tuple[LazyValue, float]],
        merge: bool,
        refused: Callable[[int, str], None],
        votes: Callable[[int], int] = lambda _: 1,
        where: str = "",
        children: Sequence[str] = (),
        seen: Callable[[int, LazyValue], None] | None = None,
        base: LazyValue | None = None,
    ) -> None:
        super().__init__(done=False)
        self._base = base
        self._seen = seen
        self._fold: RoundFold | None = fold
        self._members = list(members)
        self._merge = merge
        self._refused = refused
        self._votes = votes
        self._where = where
        self._children = children
        self._fed = 0
        self.wanted = False
        """Whether it is being computed now, so that members may stream into it."""
        order = self.order
        for place, (member, _) in enumerate(self._members):
            if type(member) is Training:
                member.consumer, member.rank = self, (order, place)

    def needs(self) -> Iterable[LazyValue]:
        left = [member for member, _ in itertools.islice(self._members, self._fed, None)]
        return left if self._base is None else [self._base, *left]

    def awaits(self, member: LazyValue) -> bool:
        """Whether that member is the next to be folded, and now is the time."""
        return self.wanted and self._fed < len(self._members) and self._members[self._fed][0] is member

    def feed(self) -> None:
        """Fold every finished member that is next in order."""
        assert self._fold is not None
        places: list[int] = []
        ready: list[tuple[Update | Partial, float]] = []
        members, place = self._members, self._fed
        while place < len(members):  # Not from the beginning: mostly it is one that comes.
            member, scale = members[place]
            if not member.done:
                break
            if member.result is not None:
                if self._children and isinstance(member.result, Update):
                    member.result.child = self._children[place]
                if self._seen is not None:
                    self._seen(place, member)
                places.append(place)
                ready.append((member.result, scale))
                member.result = None
            place += 1
        self._fed = place
        self._fold.take(places, ready)

    def compute(self) -> Folded | Partial | None:
        self.feed()
        assert self._fold is not None
        try:
            last = NOTHING if self._base is None else self._base.result.rule
            folded, refused = self._fold.close(self._merge, self._votes, last)
        except CodeError as error:
            error.at(self._where)
            raise
        for place, why in refused.items():
            self._refused(place, why)
        return folded

    def settle(self, result: Any) -> None:
        super().settle(result)
        for member, _ in itertools.islice(self._members, self._fed, None):
            member.result = None
        self._members, self._fed, self._fold, self._base = [], 0, None, None


class Trainer(Protocol):
    """What runs cohorts: the executor."""

    def run(self, jobs: Sequence[ClientJob]) -> Iterator[LocalRound]:
        """Train; results in order, valid until the next is asked for."""
        ...


Giver = Callable[[LocalRound, Down, LocalPlan], LocalRound]
"""From what a device came to, the model it had and its plan, to what it gives."""
_rank = attrgetter("rank")


class LazyValues:
    """Computes values on demand and keeps the devices' states.

    Args:
        trainer: runs cohorts.
        trained: told of every local round that really ran.
        settled: told of every other value that was computed.
        staging: takes what devices send through the stages of their links; None where there are none.
        give: makes of a device's round what it gives under the job's privacy; None where it reports as it is.
        whole: lays what devices of smaller models send out over the whole one; None where all train the whole.
        on_disk: whether what devices send waits on disk, and not in memory: somebody wants to see it all at once.
    """

    def __init__(
        self,
        trainer: Trainer,
        trained: Callable[[Training, LocalRound], None],
        settled: Callable[[LazyValue], None] = lambda _: None,
        staging: Staging | None = None,
        give: Giver | None = None,
        whole: WholeUpdates | None = None,
        on_disk: bool = False,
    ) -> None:
        self._on_disk = on_disk
        self._whole = whole
        self._trainer = trainer
        self._trained = trained
        self._settled = settled
        self._give = give
        self.staging = staging
        self._staged = staging if staging is not None and staging.of_devices else None
        self.locals: dict[int, State] = {}
        """State of the devices that have any, by client."""
        self.replaying = False
        """While a resumed run repeats its past: values count as computed, and their results come from a
        checkpoint at the end of it."""

    def force(self, targets: Iterable[LazyValue]) -> None:
        """Compute these values and all that they rest on."""
        trainings: list[Training] = []
        others: list[LazyValue] = []
        for value in _unfinished(targets):
            if isinstance(value, Training):
                trainings.append(value)
            else:
                others.append(value)
                if isinstance(value, Folding):
                    value.wanted = True
        while trainings or others:
            before = len(trainings) + len(others)
            left: list[LazyValue] = []
            for value in others:  # First, so that all training that can be begun is in the cohort.
                for needed in value.needs():
                    if not needed.done:
                        left.append(value)
                        break
                else:
                    value.settle(None if self.replaying else value.compute())
                    self._settled(value)
            others = left
            cohort = _next_cohort(trainings) if trainings else []
            if cohort:
                self._train(cohort)
                trainings = [training for training in trainings if not training.done]
            if len(trainings) + len(others) == before:
                raise RuntimeError("Values wait for each other in a circle; this is a bug in the simulator.")

    def _train(self, cohort: list[Training]) -> None:
        if self.replaying:
            for training in cohort:
                training.settle(None)
            return
        jobs = [training.job(self.locals.get(training.client, {})) for training in cohort]
        keep = Spill() if self._on_disk else np.copy
        for training, done in zip(cohort, self._trainer.run(jobs), strict=True):
            if done.local:
                self.locals[training.client] = done.local
            if self._give is not None and training.model is not None:
                done = self._give(done, training.model.result, training.plan)
            training.loss_rms = done.loss_rms if math.isfinite(done.loss_rms) else None
            training.failure = done.failure
            self._trained(training, done)
            update, is_copy = done.update, False
            if self._staged is not None and update is not None:
                update, is_copy = self._staged.from_device(training.client, update, training.plan), True
            if self._whole is not None and update is not None:
                update, is_copy = self._whole.of_update(update), is_copy or update.ranges is not None
            training.settle(update)
            consumer = training.consumer
            if consumer is not None and consumer.awaits(training):
                consumer.feed()
            elif update is not None and (self._on_disk or not is_copy):
                training.result = _copy(update, keep)


def _next_cohort(waiting: list[Training]) -> list[Training]:
    """All training that can start, at most one a device: its next needs the state after this one."""
    seen: set[int] = set()
    cohort: list[Training] = []
    for training in waiting:
        if training.client not in seen:
            seen.add(training.client)
            if training.model is not None and training.model.done:
                cohort.append(training)
    return sorted(cohort, key=_rank)


def reachable(roots: Iterable[LazyValue]) -> list[LazyValue]:
    """Values and all that the unfinished ones among them rest on, in an order that only the graph decides."""
    found: dict[int, LazyValue] = {}
    stack = list(roots)[::-1]
    while stack:
        value = stack.pop()
        if value.order not in found:
            found[value.order] = value
            stack.extend(reversed(list(value.needs())))
    return list(found.values())


def _unfinished(targets: Iterable[LazyValue]) -> list[LazyValue]:
    """Targets and what they rest on, as far as not computed, in order of creation."""
    found: dict[int, LazyValue] = {}
    stack = [value for value in targets if not value.done]
    while stack:
        value = stack.pop()
        if value.order not in found:
            found[value.order] = value
            for needed in value.needs():
                if not needed.done:
                    stack.append(needed)
    return [found[order] for order in sorted(found)]


def _copy(update: Update, keep: Keep) -> Update:
    vectors = {name: keep(vector) for name, vector in update.vectors.items()}
    counters = update.counters.copy() if update.counters.size else update.counters
    weights: dict[str, Weight] = {
        name: weight.copy() if is_per_number(weight) else weight for name, weight in update.weights.items()
    }
    return Update(vectors, weights, counters, update.count, update.bounds, ranges=update.ranges, code=update.code)
