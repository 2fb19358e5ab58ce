"""The rollouts of all models: what happens to them is kept, then signed, then told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set

from msgspec.structs import replace

from fogline.inference.card import Card
from fogline.registry import rollout_events as events
from fogline.registry.catalogue import Catalogue, CatalogueError
from fogline.registry.model_store import ModelStore
from fogline.registry.release import NodeKind
from fogline.registry.rollout import due, handle
from fogline.registry.rollout_events import Event, RolloutPlan, ServedVersion
from fogline.registry.trust.releases import SignedReleases


class RolloutDriver:
    """Moves rollouts on. One call at a time.

    Args:
        states: what is kept.
        catalogue: the versions.
        signed: the releases.
        nodes: who serves now, and on which tier.
        changed: told that there is a new signed timestamp.
        soon: told that :meth:`tick` may have something to do earlier than it said.
        cautious: who serves only versions that people approved.
    """

    def __init__(
        self,
        states: ModelStore,
        catalogue: Catalogue,
        signed: SignedReleases,
        nodes: Callable[[], Mapping[str, NodeKind]],
        changed: Callable[[], None],
        soon: Callable[[], None],
        cautious: Callable[[], Set[str]] = frozenset,
    ) -> None:
        self._states = states
        self._catalogue = catalogue
        self._signed = signed
        self._nodes = nodes
        self._changed = changed
        self._soon = soon
        self._cautious = cautious

    def sign(self) -> None:
        """Sign what a crash, or a disk that was full, has left unsigned."""
        signed = self._signed.releases()
        for state in self._states:
            release = state.release
            if release is not None and (release.model not in signed or signed[release.model].number < release.number):
                self._signed.publish(release)
                self._changed()

    def seen(self) -> None:
        """Take note that nodes came or went."""
        for state in self._states:
            if state.rollout.running:
                self.handle(state.rollout.model, events.Tick())

    def tick(self) -> float | None:
        """Do what is due; Unix time at which something is next."""
        self.sign()
        for state in self._states:
            when = due(state.rollout)
            if when is not None and when <= time.time():
                self.handle(state.rollout.model, events.Tick())
        return min((when for state in self._states if (when := due(state.rollout)) is not None), default=None)

    def restored(self, number: int) -> None:
        """The cloud went back to a backup: releases have higher numbers from now on."""
        for state in self._states:
            self._step(state.rollout.model, events.CloudRestored(number))

    def begin(self, card: Card, plan: RolloutPlan, by: str = "") -> Sequence[str]:
        """Roll a version out; what there is to say of it."""
        self._states.keep(replace(self._states.of(card.model), plan=plan))
        return self.handle(card.model, events.Begin(self.served(card), plan), by)

    def handle(self, model: str, event: Event, by: str = "") -> Sequence[str]:
        """One step of a model's rollout, which is kept before anybody hears of it; what there is to say of it.

        Raises:
            RolloutError: it makes no sense now.
        """
        self._introduce(model, event.new if isinstance(event, events.Begin) else self._states.of(model).rollout.new)
        return self._step(model, event, by)

    def _introduce(self, model: str, version: ServedVersion | None) -> None:
        """Tell the rollout who takes a version now: nodes that wait for an approval are no part of its rings."""
        state = self._states.of(model)
        waiting = self._cautious()
        if waiting and version is not None and version.card.digest in self._signed.approved(model):
            waiting = frozenset[str]()
        known = frozenset(
            name for name, tier in self._nodes().items() if tier in state.plan.tiers and name not in waiting
        )
        if known != frozenset(state.rollout.nodes):
            self._step(model, events.NodesKnown(known))

    def _step(self, model: str, event: Event, by: str = "") -> Sequence[str]:
        state = self._states.of(model)
        step = handle(state.rollout, event, time.time())
        if step.rollout != state.rollout:
            self._states.keep(replace(state, rollout=step.rollout, release=step.release or state.release))
            if step.release is not None or due(step.rollout) != due(state.rollout):
                self._soon()
        if step.release is not None:
            self._signed.publish(step.release)
            self._changed()
        for note in step.notes:
            self._states.note(model, note, by)
        return step.notes

    def served(self, card: Card) -> ServedVersion:
        """A version as rollouts name it."""
        return ServedVersion(self._catalogue.asset(card.model, card.version), card.version)

    def before(self, model: str) -> int:
        """The version before the one that is served: one that was on all nodes, and not one that was given up.

        Raises:
            CatalogueError: there is none.
        """
        rollout = self._states.of(model).rollout
        now = rollout.new if rollout.running else rollout.good
        there = {card.version for card in self._catalogue.versions(model)}
        older = [version for version in rollout.served if now and version < now.version and version in there]
        if not older:
            raise CatalogueError(
                f"No version of {model} was on all nodes before the one that is served; name the one to go back to."
            )
        return older[-1]
