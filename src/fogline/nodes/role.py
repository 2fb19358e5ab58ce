"""What a node is in its job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from fogline.jobs import Job, Tier
from fogline.modes import Mode
from fogline.nodes.messages import HERE, SUMMED, Kind
from fogline.nodes.traits import AlgorithmTraits
from fogline.retries import Backoff


@dataclass(frozen=True, slots=True)
class AggregatorRole:
    """What an aggregator is in its job."""

    name: str
    parent: str | None
    tier: Tier
    traits: AlgorithmTraits
    """The method's, with the mode of this tier."""
    rounds: int
    """At the root: rounds of the job. Below: rounds per round of the parent."""
    deadline: float
    seed: int = 0
    retry: Backoff | None = None
    """How long until an unconfirmed report is sent again; None where links lose nothing."""
    steps: int = 0
    """Steps of the exchange that it has with its children before they have reported; 0: none."""
    demands: int = 0
    """Likewise with its parent: one that asks for other steps, to be sent a sum as it is, gets none."""
    minimum: int = 1
    """Devices below it whose updates a round needs to count."""
    marks: bool = False
    """Whether reports say which devices are in them: one that has changed its fog is in those of two, and must not
    count twice for the root's minimum."""
    least: int = 1
    """Reports that its rule needs to say anything, whatever the quorum."""
    patience: float = math.inf
    """Seconds after which children that were asked are given up, where the runtime knows enough of them to wait
    less than the deadline. For children that cannot be asked now, it waits as long as ever."""
    join_window: float = 0.0
    """Seconds to wait for more children when the first one joins, so that a round after a start is not one of
    whoever came first; 0 where all are there before the start."""
    keeps: bool = False
    """Whether it keeps the last model of its parent: the next may come as the difference to it."""
    lowest: bool = False
    """Of a survey: whether its children are devices."""
    exchanged: tuple[Kind, ...] = ("train",)
    """What is asked for with the steps of the exchange."""
    mode: Mode = field(init=False)
    """How its rounds run."""
    grouped: bool = field(init=False)
    """Whether it is asynchronous, and has an exchange: then each buffer's worth of children is asked together, with one
    version of the model, and such groups run beside each other, as classes of speed do."""

    def __post_init__(self) -> None:
        # Fields, because they are asked for with every report.
        grouped = self.steps > 0 and self.traits.mode == "async"
        object.__setattr__(self, "grouped", grouped)
        object.__setattr__(self, "mode", "semi-async" if grouped else self.traits.mode)

    @property
    def moves(self) -> bool:
        """Whether it has a model of its own (else it merges its children's updates for the parent)."""
        return self.parent is None or self.rounds > 1 or self.traits.group_models or self.mode != "sync"

    @property
    def keeps_idle(self) -> bool:
        """Whether it looks for children that have nothing to do, which may be few."""
        return self.mode == "async" or self.grouped

    def cohort_of(self, children: int) -> int:
        """Children that a round should ask where there are so many: as the job says, and enough for a quorum."""
        if self.grouped:
            return max(self.buffer_of(self.tier.cohort_of(children)), self.least)
        return max(self.tier.cohort_of(children), self.least)

    def buffer_of(self, training: int) -> int:
        """Async mode: reports that make a move where so many children train at once."""
        return self.tier.buffer_of(self.traits.buffer, training)

    def quorum_of(self, cohort: int) -> int:
        """Reports that a round of a cohort of that size needs."""
        return max(self.tier.quorum_of(cohort), self.least)

    @property
    def wait(self) -> float:
        """Seconds to wait for children that were asked."""
        return min(self.deadline, self.patience)

    def keep_since(self, now: float) -> float:
        """Requests made before that time are given up when a round closes: all, but async children train on."""
        return now - self.wait if self.mode == "async" else math.inf

    @property
    def lanes(self) -> int:
        """Sequences of rounds that run beside each other."""
        if self.grouped:
            return groups_of(self.tier.cohort, self.cohort_of(0))
        return self.tier.speed_classes if self.mode == "semi-async" else 1


def groups_of(cohort: float, group: int) -> int:
    """Groups of that size that train at once; one where the cohort is no count."""
    return max(1, cohort // group) if isinstance(cohort, int) else 1


def role_of(
    job: Job, traits: AlgorithmTraits, name: str, tier_name: str, parent: str | None, patience: float = math.inf
) -> AggregatorRole:
    """What an aggregator is in a job."""
    tier, mode = job.tree.tiers[tier_name], job.tree.modes(traits.mode)[tier_name]
    names, steps = job.tree.names, traits.exchanges
    return AggregatorRole(
        name=name,
        parent=parent,
        tier=tier,
        traits=msgspec.structs.replace(
            traits,
            mode=mode,
            group_models=traits.group_models or tier_name in traits.gathers,
        ),
        rounds=job.rounds if parent is None else tier.rounds,
        deadline=job.tree.deadlines()[tier_name],
        minimum=job.tree.minimum if parent is None else 1,
        marks=job.tree.marks,
        least=traits.least.get(tier_name, 1),
        seed=job.seed,
        patience=patience,
        steps=steps.get(tier_name, 0),
        demands=0 if parent is None else steps.get(_above(job, tier_name), 0),
        keeps=any(job.tree.tiers[other].sends_differences for other in names[: names.index(tier_name)]),
    )


def _above(job: Job, tier_name: str) -> str:
    """The tier above one that is not the root's."""
    names = job.tree.names
    return names[names.index(tier_name) - 1]


def survey_role(
    job: Job, summed: Mapping[str, int], name: str, tier_name: str, parent: str | None, patience: float = math.inf
) -> AggregatorRole:
    """What an aggregator is where the job asks beside the training (evaluation, queries).

    All devices that can be asked are asked, or the cohort that the job names; quorum, deadline and minimum are those
    of the rounds of training. What is asked for is summed up and handed on, in one round.

    Args:
        job: what is asked.
        summed: by tier, the steps of the exchange in which what devices answer and find is added up.
        name: the aggregator's.
        tier_name: where it is.
        parent: who asks it; None: the job does.
        patience: see :class:`AggregatorRole`.
    """
    lowest = tier_name == job.tree.names[-1]
    cohort = job.evaluation.cohort if lowest else 1.0
    tier = job.tree.tiers[tier_name]
    return AggregatorRole(
        name=name,
        parent=HERE if parent is None else parent,
        tier=Tier(cohort=cohort, quorum=tier.quorum, deadline=tier.fixed_deadline),
        traits=AlgorithmTraits(),
        rounds=1,
        deadline=job.tree.deadlines()[tier_name],
        minimum=job.tree.minimum if parent is None else 1,
        marks=job.tree.marks,
        seed=job.seed,
        patience=patience,
        steps=summed.get(tier_name, 0),
        demands=0 if parent is None else summed.get(_above(job, tier_name), 0),
        lowest=lowest,
        exchanged=SUMMED,
    )
