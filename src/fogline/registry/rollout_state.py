"""What the cloud knows of a model's rollouts, and what can be read from it."""

from __future__ import annotations

from math import floor
from typing import Literal

import msgspec
from msgspec.structs import replace

from fogline.inference.card import ModelName
from fogline.registry.comparison import comparable, fault
from fogline.registry.release import Outcome, Release, Tally, place
from fogline.registry.rollout_events import RolloutPlan, ServedVersion

Phase = Literal["idle", "rolling", "paused", "done", "aborted"]
REMEMBERED = 100
"""Versions that a rollback by hand may lead to without their being named."""
FEW = 100
"""Nodes that a ring names."""
STEP = 2.0**-48
"""Places of nodes are multiples of it."""
RUNNING: tuple[Phase, ...] = ("rolling", "paused")


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model's rollouts. Begin with its name, its last release's number and what is served."""

    model: ModelName
    number: int = 0
    """Of the last release."""
    good: ServedVersion | None = None
    """What everybody serves, or goes back to."""
    served: tuple[int, ...] = ()
    """Versions that all nodes got and that nobody has taken back, the last one last."""
    phase: Phase = "idle"
    new: ServedVersion | None = None
    """What is being rolled out, or was last."""
    plan: RolloutPlan = RolloutPlan()
    mode: Literal["live", "shadow"] = "live"
    salt: str = ""
    first: int = 0
    """Number of the first release of this version: reports of earlier ones are of the past."""
    ring: int = 0
    width: float = 0.0
    """Part of the nodes that it may hold,"""
    share: float = 0.0
    """place below which nodes are in it,"""
    named: tuple[str, ...] = ()
    """and further ones by name."""
    since: float = 0.0
    """Unix time at which the ring began, or went on."""
    ready: bool = False
    """The ring is through, and waits for a hand."""
    nodes: tuple[str, ...] = ()
    """Names that are known, sorted."""
    inside: int = 0
    """How many of them are in the ring."""
    vacant: float = 0.0
    """Unix time at which the last of these went; 0: there is one, or there never was."""
    outcomes: dict[str, Outcome] = {}
    """The last word of each node in the ring, also of those that have gone: they may come back."""
    fresh: Tally = Tally()
    """Of the new version,"""
    beside: Tally = Tally()
    """of the good one at the same time,"""
    recent: Tally = Tally()
    """and of the good one before,"""
    earlier: Tally = Tally()
    """and before that."""
    psi: float = 0.0
    """Largest population stability index of the new version."""

    @property
    def running(self) -> bool:
        """Whether a version is on its way."""
        return self.phase in RUNNING

    @property
    def served_first(self) -> ServedVersion | None:
        """What everybody serves; before there is such a version, the one that is on its way."""
        return self.good or (self.new if self.running else None)

    @property
    def name(self) -> str:
        """What is being rolled out, for people."""
        return f"{self.model} version {self.new.version}" if self.new else self.model

    @property
    def successes(self) -> int:
        """Nodes of the ring that are through."""
        wanted = "shadowing" if self.mode == "shadow" else "committed"
        return sum(outcome.what == wanted for outcome in self.heard())

    @property
    def succeeded(self) -> bool:
        """Whether enough of them are."""
        return self.inside > 0 and self.successes >= self.plan.thresholds.success * self.inside

    @property
    def next_ring(self) -> float | None:
        """Unix time before which it does not go beyond its ring, however well it does; None: no time leads on."""
        return self.since + self.plan.ring_seconds if self.phase == "rolling" and not self.ready else None

    def heard(self) -> list[Outcome]:
        """The last words of the nodes that are known now."""
        return [self.outcomes[node] for node in self.nodes if node in self.outcomes]

    def release(self) -> Release | None:
        """The newest release, which says what nodes are to do; None before the first rollout."""
        over = self.phase in ("done", "aborted")
        served = self.good if over and self.good is not None else self.new
        if served is None or self.phase == "idle":
            return None
        return Release(
            model=self.model,
            number=self.number,
            version=served.version,
            card=served.card,
            width=self.width,
            share=self.share,
            named=self.named,
            salt=self.salt,
            before=None if over or self.good is None else self.good.card,
            mode=self.mode,
            state=self.phase,
            tiers=self.plan.tiers,
            probation=self.plan.probation,
        )

    def concerns(self, version: int) -> bool:
        """Whether that is the version on its way."""
        return self.running and self.new is not None and self.new.version == version

    def holds(self, node: str) -> bool:
        """Whether a node is in the ring."""
        return node in self.named or place(node, self.salt) < self.share

    def size(self, width: float) -> int:
        """How many of the known nodes a ring of that width may hold; one, if there is any, also in a small fleet."""
        return min(len(self.nodes), max(1, floor(width * len(self.nodes) + 1e-9)))

    def recounted(self) -> Rollout:
        """With ``inside`` as it is now."""
        return replace(self, inside=sum(map(self.holds, self.nodes)))

    def widened(self, width: float) -> Rollout:
        """With a ring of that width, which holds all that it has held.

        Where nodes stand does not depend on who is there. So a small ring, of which one node more is much, names its
        nodes, and those that connect later are not in it. A large one is cut at a place: who connects later is in it in
        proportion.
        """
        if width >= 1:
            return replace(self, width=1.0, share=1.0, named=()).recounted()
        ring = frozenset(filter(self.holds, self.nodes))
        others = sorted((place(node, self.salt), node) for node in self.nodes if node not in ring)
        added = others[: max(0, self.size(width) - len(ring))]
        share, named = self.share, frozenset((*self.named, *(node for _, node in added)))
        if len(ring) + len(added) > FEW and added:
            share = added[-1][0] + STEP
            named = frozenset(node for node in named if place(node, self.salt) >= share)
        return replace(self, width=width, share=share, named=tuple(sorted(named))).recounted()

    def on_all(self, version: int) -> tuple[int, ...]:
        """What was served once a version is on all nodes."""
        return (*(one for one in self.served if one < version), version)[-REMEMBERED:]

    def settled(self) -> Rollout:
        """After a rollout: what was counted of the good version meanwhile belongs to its past."""
        return replace(self, recent=self.recent + self.beside, beside=Tally())

    def fault(self) -> str | None:
        """Why the version must not stay, as a clause; None if there is nothing against it."""
        limits = self.plan.thresholds
        bad = sum(outcome.what in ("reverted", "failed") for outcome in self.heard())
        if bad and bad >= limits.failure * self.inside:
            return f"{bad} of {self.inside} nodes of its ring went back"
        if limits.psi is not None and self.psi > limits.psi:
            return f"its inputs have drifted from the reference (PSI {self.psi:.2f})"
        alone = not comparable(self.beside, self.fresh, limits)
        before = self.beside + self.recent + self.earlier if alone else self.beside
        return fault(self.fresh, before, limits)
