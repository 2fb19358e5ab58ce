"""What a simulation is of: who takes part, on what machines and links, and what messages and work cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fogline.jobs.planning import Planner
from fogline.nodes import Aggregator
from fogline.simulation.exchanging import ExchangeValues
from fogline.simulation.profiles import Fleet, Link


class LinkSizes(NamedTuple):
    """How many bytes take values between the aggregators of a tier and their children."""

    down: int
    """A model."""
    up: int
    """What a child sends."""
    difference: int = 0
    """A model, as the difference to the version before; 0: it always goes whole."""
    every: int = 1
    """Versions of which one goes whole."""


class Portion(NamedTuple):
    """What a device's smaller model costs."""

    cost: float
    """MFLOP to train on one example."""
    down: int
    """Bytes of what it gets of a model."""
    up: int
    """Bytes of its update."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many bytes each kind of message takes on a link."""

    down: int
    """A model with the algorithm's vectors."""
    update: int
    """A device's update, or an aggregator's after rounds of its own."""
    partial: int
    """A merged partial result."""
    control: int = 128
    """Any other message."""
    frozen: int = 0
    """The model's frozen entries, which go to a node once, with the first model that it gets."""
    staged: Mapping[str, LinkSizes] = field(default_factory=dict[str, LinkSizes])
    """Of tiers whose links have stages, the whole of it by the tier's name."""
    portions: Mapping[int, Portion] = field(default_factory=dict[int, Portion])
    """Of devices that have a smaller model than the whole one, by client."""
    parts: Mapping[float, Portion] = field(default_factory=dict[float, Portion])
    """Of what a device trains that is asked for part of a round's work, where that is a smaller model, by its share."""

    def of(self, tier: str, child: int) -> LinkSizes:
        """Between a tier and its children. ``child``: bytes of what one sends where there is no stage."""
        return self.staged.get(tier) or LinkSizes(self.down, child)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who takes part in a run, on what machines and links, and what their work costs."""

    root: str
    """Name of the root aggregator."""
    aggregators: Mapping[str, Aggregator]
    """All of them by name, each parent before its children."""
    tiers: Mapping[str, str]
    """The tier of every aggregator."""
    clients: list[str]
    """Names of the devices, by client."""
    homes: list[str]
    """The aggregator above each device, by client."""
    fleet: Fleet
    """The devices' and their links' profiles."""
    links: Link
    """The link between an aggregator and its parent."""
    plan: Planner
    """How much a device trains."""
    sizes: Sizes
    """Bytes of what travels."""
    cost: float
    """MFLOP to train on one example."""
    prefetch: bool = False
    """Whether training in flight joins a cohort that has to be computed anyway (async tiers)."""
    eager: Collection[str] = ()
    """Aggregators whose policies select by loss: it must be known when their devices report, and not only when a round
    may close, or they have an exchange."""
    steps: ExchangeValues | None = None
    """Carries out the steps of an exchange, if there is one."""
