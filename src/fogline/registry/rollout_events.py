"""How a version is rolled out, and what can happen to a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from fogline.inference.card import Asset
from fogline.jobs.job import Publish
from fogline.registry.model_report import Steer
from fogline.registry.release import NodeKind, Outcome, Probation, ReleaseError, Share, Thresholds, Vitals

MINUTE = 60.0
LONGEST = 120 * MINUTE
R = TypeVar("R", Thresholds, Probation)


class ServedVersion(msgspec.Struct, frozen=True):
    """A version of the model."""

    card: Asset
    version: int


class RolloutPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a version gets to all nodes.

    Raises:
        ValueError: the rings do not rise to 1, or the times make no sense.
    """

    rings: tuple[Share, ...] = (0.05, 0.25, 1.0)
    """Shares of the nodes. Each ring holds at least one node that is known; one that adds none is passed at once."""
    thresholds: Thresholds = Thresholds()
    probation: Probation = Probation()
    ring_seconds: float = MINUTE
    """Least time of a ring,"""
    ring_longest: float = LONGEST
    """and the time after which one that has not reached the success share is paused."""
    mode: Literal["live", "shadow"] = "live"
    """``shadow``: all rings in silence first;"""
    then_live: bool = False
    """and then once more live. Otherwise the rollout ends with what was seen."""
    tiers: tuple[NodeKind, ...] = ("device", "fog", "cloud")
    automatic: bool = True
    """Whether rings follow each other by themselves; otherwise each waits for :class:`Advance`."""

    def __post_init__(self) -> None:
        if not self.rings or self.rings[0] <= 0 or self.rings[-1] != 1 or any(a >= b for a, b in pairwise(self.rings)):
            raise ValueError(
                "rings are shares of the nodes that rise to 1, such as 0.1 and 1; these do not: "
                + ", ".join(f"{ring:g}" for ring in self.rings)
            )
        if not 0 <= self.ring_seconds < self.ring_longest:
            raise ValueError("ring_seconds must be at least 0 and below ring_longest")


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Roll a version out. One that is on its way is superseded: its nodes go to the newer version."""

    new: ServedVersion
    plan: RolloutPlan = RolloutPlan()


class Rollback(msgspec.Struct, frozen=True, tag=True):
    """Everybody goes to that version at once, whatever runs."""

    to: ServedVersion


class Pause(msgspec.Struct, frozen=True, tag=True):
    """An operator or a rule wants no further ring to begin."""

    why: str = "by hand"


class Resume(msgspec.Struct, frozen=True, tag=True):
    """Go on after a pause; the ring's time begins anew."""


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Everybody goes back to the version before."""

    why: str = "by hand"


class Advance(msgspec.Struct, frozen=True, tag=True):
    """Begin the next ring, whatever the one before has shown."""


class Tick(msgspec.Struct, frozen=True, tag=True):
    """Time has passed (:func:`fogline.registry.rollout.due` says when to send one)."""


class NodesKnown(msgspec.Struct, frozen=True, tag=True):
    """The names of all nodes that serve the model, in place of those known before."""

    nodes: frozenset[str]


class DriftReported(msgspec.Struct, frozen=True, tag=True):
    """How far a version's inputs are from its reference."""

    version: int
    psi: float
    """Population stability index."""


class CloudRestored(msgspec.Struct, frozen=True, tag=True):
    """The cloud went back to a backup, and does not know which releases it has made since."""

    number: int
    """Above all that it may have given to a release."""


Event = (
    Begin
    | Rollback
    | Pause
    | Resume
    | Abort
    | Advance
    | Tick
    | NodesKnown
    | DriftReported
    | CloudRestored
    | Outcome
    | Vitals
)


def plan_of(settings: Publish) -> RolloutPlan:
    """How a job wants its versions rolled out.

    Raises:
        ValueError: a rule is unknown, or makes no sense.
    """
    return RolloutPlan(
        rings=settings.rings,
        thresholds=_rules(Thresholds, "thresholds", settings.thresholds),
        probation=_rules(Probation, "probation", settings.probation),
        ring_seconds=settings.ring_time,
        ring_longest=_longest(settings.ring_time),
        mode="shadow" if settings.shadow else "live",
        then_live=settings.shadow,
        tiers=settings.tiers,
    )


def promoted(before: RolloutPlan, wanted: Steer) -> RolloutPlan:
    """How an operator wants a version rolled out: as before, where nothing else is said.

    Raises:
        ValueError: that makes no sense.
    """
    ring = before.ring_seconds if wanted.ring_seconds is None else wanted.ring_seconds
    return replace(
        before,
        rings=wanted.rings or (1.0,),
        ring_seconds=ring,
        ring_longest=_longest(ring),
        mode="shadow" if wanted.shadow else "live",
        tiers=wanted.tiers or before.tiers,
    )


def _longest(ring: float) -> float:
    return max(LONGEST, 10 * ring)


def _rules(kind: type[R], name: str, given: Mapping[str, float]) -> R:
    unknown = [key for key in given if key not in kind.__struct_fields__]
    if unknown:
        known = ", ".join(kind.__struct_fields__)
        raise ReleaseError(f"publish.{name} has no rule '{unknown[0]}'; there are {known}.")
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        what, _, key = str(error).rstrip("`").partition(" - at `$.")
        raise ReleaseError(f"publish.{name}.{key}: {what}.") from None
