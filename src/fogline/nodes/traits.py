"""What a method says of itself that decides how nodes work: they need not import it to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from fogline.modes import Mode

if TYPE_CHECKING:
    from fogline.aggregation.rules import Rule
    from fogline.algorithms import Algorithm
    from fogline.exchanges import Exchange  # Not imported: a node that has little memory needs no method.
    from fogline.jobs.protection.protection import Protection


class AlgorithmTraits(msgspec.Struct, frozen=True):
    """What travels of a method: to the nodes of a job, and into the role of each."""

    mode: Mode = "sync"
    """How rounds run in a tier that names no mode."""
    buffer: Annotated[int, Meta(ge=1, le=2**53)] | None = 1
    """Async mode: reports per move; None: by how many children train at once."""
    group_models: bool = False
    """Whether an aggregator forms its own group's model even with one round per parent round."""
    gathers: tuple[str, ...] = ()
    """Tiers whose rule needs all updates at once, or that add noise or are clipped, so that an aggregator forms its own
    group's model too: what it makes of its children's updates is no sum of them any more."""
    least: Mapping[str, Annotated[int, Meta(ge=1, le=2**31)]] = msgspec.field(default_factory=dict)
    """Updates that the rule of a tier needs to say anything, where that is more than one."""
    exchanges: Mapping[str, Annotated[int, Meta(ge=1, le=1000)]] = msgspec.field(default_factory=dict)
    """Steps of the exchange that a tier has with its children, whose code need not be imported either."""
    summed: Mapping[str, Annotated[int, Meta(ge=1, le=1000)]] = msgspec.field(default_factory=dict)
    """Likewise of that in which what devices answer, or find of a model, is added up."""
    private: bool = False
    """Whether noise protects devices or sites. Then rounds stand apart: what one that did not count has gathered is
    dropped, and not carried into the next, in which a device would count twice; and no report says how many examples
    there are."""


def traits_of(
    algorithm: Algorithm,
    rules: Mapping[str, Rule],
    exchanges: Mapping[str, Exchange] | None = None,
    protection: Protection | None = None,
    summed: Mapping[str, Exchange] | None = None,
) -> AlgorithmTraits:
    """What a method, the rules and exchanges of a job's tiers, and the job's privacy say of themselves."""
    noised = () if protection is None else protection.own_models
    gathers = tuple(name for name, rule in rules.items() if rule.needs_all or name in noised)
    least = {name: rule.least for name, rule in rules.items() if rule.least > 1}
    steps = {name: len(exchange.steps) for name, exchange in (exchanges or {}).items()}
    asked = {name: len(exchange.steps) for name, exchange in (summed or {}).items()}
    return AlgorithmTraits(
        *(algorithm.mode, algorithm.buffer, algorithm.group_models, gathers, least, steps, asked),
        private=protection is not None,
    )
