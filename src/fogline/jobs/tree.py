"""The tree of a job: tiers of aggregators, from the root down. Devices hang below the last tier."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveInt,
    model_validator,
)

from fogline.jobs.checked import Demand, StrictModel
from fogline.jobs.modules import class_name
from fogline.jobs.units import seconds
from fogline.modes import Mode
from fogline.plugins import read_call

if TYPE_CHECKING:
    from fogline.aggregation.rules import Rule

    RuleOrText = Rule | str | tuple[Rule | str, ...] | None
else:  # A node that only reads jobs needs no rules, and what they need.
    RuleOrText = Any | None


def checked_rule(value: Any) -> RuleOrText:
    """A rule, a text that names one, or several of these; where all are Fogline's, there are such ones.

    Raises:
        ValueError: it is something else.
    """
    if value is None:
        return None
    from fogline.aggregation.rules import Chain, Rule, make_rule

    if isinstance(value, Chain):
        value = value.links
    several = isinstance(value, list | tuple)
    parts = tuple(cast("Sequence[Any]", value)) if several else (value,)
    known: list[str] = []
    for part in parts:
        if not isinstance(part, str | Rule):
            raise ValueError(
                "a rule is text such as 'median' or 'trimmed_mean(0.1)', or a Rule, or a list of these, and not "
                f"{part!r}"
            )
        if isinstance(part, str) and ":" not in read_call(part).name:  # Code of one's own may not be here yet.
            make_rule(part)
            known.append(part)
    if len(known) == len(parts):
        make_rule(known)
    return parts if several else value


RING = "in ring mode every device moves the model alone"
Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
# Strict, because 1.0 is a share (all of them) and 1 is a count.
Count = Annotated[int, Field(gt=0, strict=True)]
CountOrShare = Annotated[
    Count | Share,
    Field(union_mode="left_to_right"),
    Demand("a count of at least 1, or a share above 0 and at most 1"),
]
CountOrFewerThanHalf = Annotated[
    Count | Annotated[float, Field(gt=0, lt=0.5)],
    Field(union_mode="left_to_right"),
    Demand("a count of at least 1, or a share above 0 and below 0.5"),
]


def _texts(stages: Any) -> Any:
    """Stages as a job has them, some of which may be objects."""
    if not isinstance(stages, list | tuple) or all(isinstance(stage, str) for stage in cast("list[Any]", stages)):
        return stages
    from fogline.stages import Stage, text_of

    return tuple(
        text_of(stage, class_name(type(stage))) if isinstance(stage, Stage) else stage
        for stage in cast("list[Any]", stages)
    )


def _checked(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Stages that make sense; a job without any needs none of their code."""
    if texts:
        from fogline.stages import check_texts

        check_texts(texts)
    return texts


Stages = Annotated[
    tuple[str, ...],
    BeforeValidator(_texts),
    AfterValidator(_checked),
    Demand('a list of stages, such as ["clip(norm=1.0)", "int8"]'),
]
"""Stages by name, with parameters in brackets; or objects, in Python."""
PERIOD = 10
"""Rounds in which each child's turn comes once, with the policy ``rotation``, where its parameter says nothing."""


class Quarantine(StrictModel):
    """When a child is not asked any more, because the tier's rule uses little of its updates again and again.

    A child's reputation r begins at 1; after a round in which the rule used s of its update, beside what it used of
    the median one (0 to 1), it is ``memory · r + (1 - memory) · s``. As a rule leaves some out whether they lie or not,
    ``s`` counts of as many children as there is room for in quarantine, those with the least; of all others it is 1.
    """

    called = "quarantine"

    below: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Reputation under which a child is not asked."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """How much of a reputation stays from round to round."""
    most: CountOrFewerThanHalf = 0.25
    """Children that may be in quarantine at a time, a count, or a share of those that were judged, rounded down, at
    least one: as many as may lie. It is always fewer than half."""
    rounds: NonNegativeInt = 10
    """Rounds of the aggregator for which it is not asked; 0: until the end."""

    def most_of(self, children: int) -> int:
        """How many of so many may be in quarantine."""
        wanted = self.most if isinstance(self.most, int) else max(1, math.floor(self.most * children + 1e-9))
        return min(wanted, (children - 1) // 2)


class Tier(StrictModel):
    """How the aggregators of one tier work. Every wait has a quorum and a deadline."""

    called = "a tier"

    count: PositiveInt = 1
    """Aggregators in this tier, spread evenly below the tier above."""
    mode: Mode | None = None
    """``sync``, ``async``, ``semi-async`` (by speed class) or ``ring``; None takes the algorithm's."""
    rounds: PositiveInt = 1
    """Rounds of its own per round of its parent (ignored at the root)."""
    cohort: CountOrShare = 1.0
    """Children asked per round: a count, or a share of those there are. In async mode: how many train at once.
    A share of the quorum is of a count as it stands here, however few are connected."""
    over_selection: Annotated[
        Literal["auto"] | Annotated[float, Field(ge=1, allow_inf_nan=False)],
        Field(union_mode="left_to_right"),
        Demand("a number of at least 1, or 'auto'"),
    ] = 1.0
    """Asks that many times the cohort and closes with the first cohort's worth of reports. ``auto``: as many as it
    takes for a cohort's worth to come in time, by how many of the last ones have; at most twice."""
    quorum: CountOrShare = 0.5
    """Reports that make a round count when its deadline passes: a count, or a share of the cohort. A failed device
    has not reported. A round waits until so many children can be asked, and is abandoned at its deadline. A count
    is of different children, and is never cut to who is connected."""
    deadline: Annotated[
        Literal["auto"] | Seconds | None,
        Field(union_mode="left_to_right"),
        Demand("a duration above 0 such as 30 or '10s', or 'auto'"),
    ] = None
    """Seconds after which a round ends with what it has. In async mode: the longest wait between two moves.
    None: an hour at the root; below, what lets all rounds of the tier end before the parent's deadline; and for
    simulated devices, at most three times what the slowest is expected to take. ``auto``: at most that, and no longer
    than half as long again as three in four of its children's last requests took, as it learns while it works."""
    policy: str = "uniform"
    """How children are selected: see ``fogline algorithms``."""
    policy_parameters: Mapping[str, float | int | str | bool] = Field(default_factory=dict)
    buffer: PositiveInt | None = None
    """Async mode: reports per move; None takes the algorithm's."""
    staleness_cap: NonNegativeInt = 20
    """How many versions old an update may be;"""
    stale: Literal["drop", "clip"] = "drop"
    """one that is older is dropped, or weighs as much as one of that age. It is counted either way."""
    late: Literal["drop", "fold"] = "drop"
    """A report that comes after its round closed: dropped, or folded into the next with its staleness."""
    speed_classes: PositiveInt = 5
    """Semi-async mode: classes of children by speed."""
    exchange: str = ""
    """Steps that the tier's aggregators and their children (devices, or aggregators below) take before these report: a
    name, ``module:Class``, or in Python an object. Empty: a child reports its update as it is."""
    exchange_parameters: Mapping[str, float | int | str | bool] = Field(default_factory=dict)
    uplink: Stages = ()
    """Stages that what its children send it goes through, in order: see ``fogline algorithms``."""
    downlink: Stages = ()
    """Stages that what it sends its children goes through."""
    rule: Annotated[RuleOrText, PlainValidator(checked_rule)] = None
    """How the children's updates become one: ``mean``, ``exact``, ``median``, ``krum(f=2)`` and others, or a rule of
    your own (``module:Class``; in Python, an instance too); a list of several works them off in order. None takes
    ``mean``, or ``exact`` where the job is exact."""
    quarantine: Quarantine | None = None
    """Whom it does not ask any more, by whose updates its rule leaves out; None: it asks all."""

    @property
    def sends_differences(self) -> bool:
        """Whether models go down as differences to what children hold."""
        return any(read_call(text).name == "delta" for text in self.downlink)

    @property
    def period(self) -> int:
        """Rounds of the job of which each child can be asked in one only; 1 where the policy knows no turns, or where
        one round of the job has several of the tier."""
        turns = self.policy == "rotation" and self.rounds == 1
        return int(self.policy_parameters.get("period", PERIOD)) if turns else 1

    @property
    def keeps_pace(self) -> bool:
        """Whether it learns how long its children take."""
        return "auto" in (self.deadline, self.over_selection)

    @property
    def fixed_deadline(self) -> float | None:
        """The deadline in seconds, where the job says it."""
        return None if self.deadline == "auto" else self.deadline

    @property
    def over_selects(self) -> bool:
        """Whether a round may ask more children than it needs."""
        return self.over_selection != 1.0

    @property
    def fewest(self) -> int:
        """Different children that a round needs, where the job names a count."""
        return self.quorum if isinstance(self.quorum, int) else 1

    def cohort_of(self, children: int) -> int:
        """Children that a round should ask where there are so many: a count as it is, also where it is more than
        there are, and never fewer than the quorum wants."""
        return max(amount_of(self.cohort, children), self.fewest)

    def quorum_of(self, cohort: int) -> int:
        """Reports needed of a cohort of that size."""
        return amount_of(self.quorum, cohort)

    def buffer_of(self, wanted: int | None, training: int) -> int:
        """Async mode: reports that make a move. A method's buffer shrinks with the children that train at once, since
        a larger one only makes updates older; one that the job names does not.

        Args:
            wanted: by the method; None: three in ten of those that train at once, at least 2 and at most 10.
            training: children that train at once.
        """
        usual = max(2, min(10, 3 * training // 10)) if wanted is None else wanted
        return max(self.buffer or min(usual, max(1, training)), self.fewest)

    def reports_wanted(self, least: int) -> int:
        """Reports without which no round counts, however few children there are.

        Args:
            least: what the tier's rule needs.
        """
        return max(self.quorum_of(max(self.cohort_of(0), least)), least)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """An exchange as an object becomes its name and its parameters."""
        exchange = given.get("exchange") if isinstance(given, dict) else None
        if isinstance(exchange, str | None):
            return given
        from fogline.exchanges import Exchange, name_of  # Not above: nodes read jobs, and need no arrays for that.

        if not isinstance(exchange, Exchange):
            return given
        if given.get("exchange_parameters"):
            raise ValueError("exchange_parameters stands beside an exchange that has its parameters; leave it out")
        return {**given, "exchange": name_of(exchange), "exchange_parameters": vars(exchange)}

    @model_validator(mode="after")
    def _consistent(self) -> Tier:
        if self.exchange_parameters and not self.exchange:
            raise ValueError('exchange_parameters are of an exchange, and there is none; name it: exchange = "secagg"')
        if self.exchange and self.late == "fold":
            raise ValueError('late is "fold", but what is reported in an exchange is of no use later; use "drop"')
        if self.exchange and self.deadline == "auto":
            raise ValueError(
                'deadline is "auto", by how long children take to report, and in an exchange they report after steps '
                "that wait for each other; give seconds"
            )
        if isinstance(self.cohort, int) and self.fewest > self.cohort:
            raise ValueError(
                f"quorum is {self.quorum}, but a round asks only {self.cohort} (cohort); make the quorum at most that"
            )
        return self


def amount_of(amount: float, whole: int) -> int:
    """A count as it is, or a share of the whole rounded up; at least one."""
    # The margin forgives binary fractions: 0.07 of 100 is 7, though the product is a little more.
    return amount if isinstance(amount, int) else max(1, math.ceil(amount * whole - 1e-9))


def share_of(amount: float, whole: int) -> int:
    """As :func:`amount_of`, but at most the whole (and at least one)."""
    return max(1, min(amount_of(amount, whole), whole))


class Tree(StrictModel):
    """Tiers by name, the root first: ``Tree(cloud=Tier(), fog=Tier(count=5))``."""

    called = "a tree"

    tiers: Mapping[str, Tier]
    minimum: PositiveInt = 1
    """Devices over the whole tree whose updates a round of the root needs to count: it waits until so many are
    connected, and is abandoned at its deadline without them. A device counts once a round."""
    assign: Literal["round-robin", "blocks", "groups"] = "round-robin"
    """Which device hangs below which aggregator of the last tier: in turn, in blocks of neighbours, or by the
    data's natural groups."""

    def __init__(
        self,
        *,
        assign: str = "round-robin",
        minimum: int = 1,
        tiers: Mapping[str, Tier] | None = None,
        **named: Tier,
    ) -> None:
        BaseModel.__init__(self, tiers={**(tiers or {}), **named} or {"cloud": Tier()}, assign=assign, minimum=minimum)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        yield from self.tiers.items()
        yield from (pair for pair in super().__repr_args__() if pair[0] != "tiers")

    @model_validator(mode="after")
    def _consistent(self) -> Tree:
        root = next(iter(self.tiers))
        if self.tiers[root].count != 1:
            raise ValueError(
                f"{root}.count is {self.tiers[root].count}, but the root is one aggregator; leave {root}.count out, "
                "and give a tier below it the count"
            )
        if self.minimum == 1:
            return self
        if self.tiers[root].mode == "ring":
            raise ValueError(f"{RING}, so a minimum of {self.minimum} cannot be kept; use another mode in {root}")
        most = self.most_devices()
        if most is not None and self.minimum > most:
            raise ValueError(
                f"minimum is {self.minimum}, but the cohorts of the tiers let at most {most} devices into a round; "
                "ask more, or make it at most that"
            )
        return self

    @property
    def marks(self) -> bool:
        """Whether reports say which devices are in them: the minimum is over those of several aggregators."""
        return self.minimum > 1 and len(self.tiers) > 1

    def most_devices(self) -> int | None:
        """Devices that a round can have by the counts of its cohorts; None where shares decide."""
        most: int | None = 1
        for tier in self.tiers.values():
            # Slower rounds of async tiers may hold any number; of the others every round asks its cohort anew.
            if not isinstance(tier.cohort, int) or tier.rounds > 1 or tier.mode in ("async", "semi-async"):
                return None
            most *= max(tier.cohort, tier.fewest)
        return most

    @property
    def names(self) -> tuple[str, ...]:
        """Tier names, the root first."""
        return tuple(self.tiers)

    def nodes(self, tier: str) -> list[str]:
        """Names of the aggregators of a tier: ``fog-0``, ``fog-1`` …; a lone one bears the tier's name."""
        count = self.tiers[tier].count
        return [tier] if count == 1 else [f"{tier}-{i}" for i in range(count)]

    def parents(self) -> dict[str, str | None]:
        """Every aggregator's parent, the root first (its parent is None)."""
        parents: dict[str, str | None] = {}
        above: list[str] = []
        for tier in self.names:
            nodes = self.nodes(tier)
            for i, node in enumerate(nodes):
                parents[node] = above[i * len(above) // len(nodes)] if above else None
            above = nodes
        return parents

    def modes(self, mode: Mode) -> dict[str, Mode]:
        """Every tier's mode.

        Args:
            mode: the algorithm's; it holds at the root, and tiers below it are synchronous unless told. An
                asynchronous one holds everywhere: it is devices, below fogs, that are slow.
        """
        root = self.names[0]
        below: Mode = "async" if mode == "async" else "sync"
        return {name: tier.mode or (mode if name == root else below) for name, tier in self.tiers.items()}

    def deadlines(self) -> dict[str, float]:
        """Every tier's deadline in seconds, the defaults filled in."""
        deadlines: dict[str, float] = {}
        above = 3600.0
        for i, (name, tier) in enumerate(self.tiers.items()):
            default = above if i == 0 else 0.9 * above / tier.rounds
            above = deadlines[name] = tier.fixed_deadline or default
        return deadlines

    def wants_details(self, mode: Mode) -> bool:
        """Whether some policy or mode wants to know devices' sizes and speeds.

        Args:
            mode: of tiers that name none.
        """
        return any(tier.policy != "uniform" or (tier.mode or mode) == "semi-async" for tier in self.tiers.values())

    def leaves(self) -> list[str]:
        """The aggregators that devices hang below."""
        return self.nodes(self.names[-1])
