"""The cloud's registry: versions come in, releases go out, and reports decide what happens next."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from fogline.governance.signatures.signers import Signer
from fogline.inference.card import Card, CardError, Point
from fogline.inference.sketches import Reference, SketchError
from fogline.jobs.job import Publish
from fogline.registry import rollout_events as events
from fogline.registry.archive import export_version, import_version
from fogline.registry.catalogue import Catalogue, CatalogueError
from fogline.registry.drift import DriftRule, DriftRules
from fogline.registry.linking import chosen, fitted
from fogline.registry.model_report import ModelReport, Steer
from fogline.registry.model_store import ModelStore, RetrainRule
from fogline.registry.release import NodeKind, Outcome, Tally, Vitals
from fogline.registry.restored import Floors, keep_floors, read_floors
from fogline.registry.rollout_driver import RolloutDriver
from fogline.registry.rollout_events import plan_of, promoted
from fogline.registry.trust.names import TIMESTAMP
from fogline.registry.trust.offline_metadata import read_offline_metadata
from fogline.registry.trust.releases import SignedReleases
from fogline.storage import Blobs, Database

log = logging.getLogger("fogline.registry")
RECENT = 100
"""Versions of a model about which reports are kept: those that were reported on last."""
N = TypeVar("N")


class Publisher:
    """The registry of a cloud. Every call may come from any thread.

    Args:
        database: the cloud's records.
        catalogue: the versions.
        signed: the releases.
        nodes: who serves now, and on which tier.
        changed: told that there is a new signed timestamp.
        train: runs a job again, by its id, and says what it is called now.
        cautious: who serves only versions that people approved.
        noted: told of each line of a model's record, and who wanted it.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        signed: SignedReleases,
        nodes: Callable[[], Mapping[str, NodeKind]],
        changed: Callable[[], None],
        train: Callable[[str], None],
        cautious: Callable[[], Set[str]] = frozenset,
        noted: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.blobs: Blobs = catalogue.blobs
        self.signed = signed
        self._changed = changed
        self._train = train
        self._lock = threading.RLock()
        self._database = database
        self._states = ModelStore(database, noted)
        self.soon: Callable[[], None] = lambda: None
        """Told that :meth:`tick` may have something to do earlier than it said."""
        self._rollouts = RolloutDriver(self._states, catalogue, signed, nodes, changed, lambda: self.soon(), cautious)
        self._rules = DriftRules(DriftRule())
        self._references: dict[tuple[str, int], Reference | None] = {}
        self._exported = ""

    def start(self) -> None:
        """Sign what a crash has left unsigned, and tidy up."""
        with self._lock:
            self._rollouts.sign()
            self.catalogue.collect()

    # Versions.

    def publish(self, card: Card, files: Mapping[str, Path], settings: Publish) -> Card:
        """Make a version of a model, and roll it out if that is wanted.

        Raises:
            CatalogueError: a file is missing, or is not the one that the card names.
            ValueError: the settings make no sense.
            StorageError: there is no room for it.
        """
        plan = plan_of(settings)
        published = self.catalogue.publish(card, files)
        self._states.note(published.model, f"Version {published.version} is published.", published.lineage.by)
        with self._lock:
            state = self._states.of(published.model)
            good = state.rollout.good
            if settings.roll_out and (good is None or published.version > good.version):
                if good is None and plan.mode == "shadow":
                    plan = replace(plan, mode="live")  # There is nothing yet that it could stand beside.
                self._rollouts.begin(self._linked_as_before(published), plan)
            self._forget_older(published, settings.keep)
        return published

    def _forget_older(self, newest: Card, keep: int) -> None:
        """Withdraw the versions of a job that are beyond those to keep, unless somebody needs them."""
        if not newest.lineage.job:
            return
        model, state = newest.model, self._states.of(newest.model)
        of_job = [card for card in self.catalogue.versions(model) if card.lineage.job == newest.lineage.job]
        named = (state.rollout.good, state.rollout.new, *state.outcomes.values(), state.release)
        needed = {one.version for one in named if one is not None} | set(state.rollout.served[-2:])
        approved = self.signed.approved(model)
        for card in of_job[:-keep]:
            if card.version not in needed and self.catalogue.asset(model, card.version).digest not in approved:
                self.catalogue.forget(model, card.version)

    def served(self, model: str) -> Card | None:
        """The version that nodes serve, and fall back to while a newer one is on its way; while the first one of all
        is, that one. None if there is none."""
        with self._lock:
            served = self._states.of(model).rollout.served_first if model in self._states else None
        return None if served is None else self.catalogue.get(model, served.version)

    def recent(self, model: str, count: int) -> list[Card]:
        """The newest versions that have weights of their own, the newest first; none where there is no such model."""
        if model not in self.catalogue.models():
            return []
        found: dict[str, Card] = {}
        for card in reversed(self.catalogue.versions(model)):
            if card.weights is not None:
                found.setdefault(card.weights.digest, card)
        return list(found.values())[:count]

    def weights(self, text: str) -> Path:
        """The weights of ``NAME`` or ``NAME@VERSION``.

        Raises:
            ValueError: there is no such version, or it has no weights of its own.
        """
        name, _, number = text.partition("@")
        if number and not (number.isdecimal() and int(number)):
            raise CatalogueError(f"'{text}' is no version of a model; write NAME or NAME@VERSION.")
        card = self._card(name, int(number or 0))
        if card.weights is None:
            raise CatalogueError(f"Version {card.version} of {name} has no weights that training could begin with.")
        return self.blobs.path(card.weights.digest)

    def export(self, model: str, version: int) -> tuple[str, int]:
        """A version as one file: its digest and bytes. It stays until the next one is exported.

        Raises:
            ValueError: there is no such version, or it is too large.
        """
        card = self._card(model, version)
        draft = self.blobs.path(self.catalogue.asset(model, card.version).digest).parent / f"export-{card.digest}"
        export_version(self.catalogue, model, card.version, draft)
        with self._lock:
            if self._exported:
                self.blobs.delete(self._exported)
            self._exported, size = self.blobs.adopt(draft)
            return self._exported, size

    def take_in(self, path: Path, by: str) -> str:
        """Import a version; a sentence.

        Raises:
            ValueError: the file is no version.
        """
        card = import_version(self.catalogue, path)
        self._states.note(card.model, f"Version {card.version} is imported.", by)
        return (
            f"Imported as {card.model} version {card.version}; have it served: "
            f"fogline models promote {card.model}@{card.version}"
        )

    def link(self, model: str, to: str, accuracy: float | None, budget: float | None, by: str) -> str:
        """Make a version of a model that asks another where it is not sure; a sentence.

        Raises:
            ValueError: there is no such model, they were not judged on the same examples, or the goal is out of reach.
        """
        published, point = self._link(self._card(model, 0), to, accuracy, budget, by)
        return (
            f"{model} version {published.version} asks {to} where its confidence is below {point.threshold:.3f}: on "
            f"the test set {100 * point.offloaded:.1f} % of the samples, and {100 * point.accuracy:.2f} % are right. "
            f"Have it served: fogline models promote {model}@{published.version}"
        )

    def _link(self, small: Card, to: str, accuracy: float | None, budget: float | None, by: str) -> tuple[Card, Point]:
        model = small.model
        cascade = fitted(small, self._card(to, 0), self.blobs.path, accuracy, budget)
        lineage = replace(small.lineage, job="", origin="", parent=small.version, by=by)
        published = self.catalogue.publish(replace(small, cascade=cascade, lineage=lineage, created=time.time()), {})
        self._states.note(model, f"Version {published.version} asks {to} below {cascade.threshold:.3f}.", by)
        return published, chosen(cascade)

    def _linked_as_before(self, card: Card) -> Card:
        """A version that asks whom the served one asks, as often; the version itself if that is nobody."""
        rollout = self._states.of(card.model).rollout
        served = rollout.new or rollout.good
        before = None if served is None else self._card(card.model, served.version).cascade
        if before is None:
            return card
        try:
            return self._link(card, before.to, None, before.budget, card.lineage.by)[0]
        except ValueError as error:
            self._states.note(card.model, f"Version {card.version} asks nobody: {error}")
            return card

    # Releases.

    def steer(self, wanted: Steer, by: str) -> str:
        """Carry out what an operator wants of a rollout; a sentence.

        Raises:
            ValueError: it makes no sense now.
        """
        model = wanted.model
        self._card(model, 0)
        with self._lock:
            match wanted.action:
                case "promote":
                    card = self._card(model, wanted.version)
                    notes = self._rollouts.begin(card, promoted(self._states.of(model).plan, wanted), by)
                case "rollback":
                    card = self._card(model, wanted.version or self._rollouts.before(model))
                    notes = self._rollouts.handle(model, events.Rollback(self._rollouts.served(card)), by)
                case "pause":
                    notes = self._rollouts.handle(model, events.Pause(f"by {by}"), by)
                case "resume":
                    notes = self._rollouts.handle(model, events.Resume(), by)
                case "abort":
                    notes = self._rollouts.handle(model, events.Abort(f"by {by}"), by)
                case "advance":
                    notes = self._rollouts.handle(model, events.Advance(), by)
        return " ".join(notes) or "Nothing changes."

    def offline_metadata(self) -> bytes:
        """All that the operator's offline keys have signed."""
        return self.signed.offline_metadata().encoded()

    def adopt(self, offline_metadata: bytes, by: str) -> str:
        """Take over what the operator signed; a sentence.

        Raises:
            MetadataError: it is not the operator's, or not newer.
        """
        self.signed.adopt(read_offline_metadata(offline_metadata))
        log.info("new offline metadata was adopted from %s", by)
        self.seen()  # Nodes of the stable channel may take part in a rollout now.
        self._changed()
        return "The cloud has taken over what was signed; nodes follow it."

    def new_release_keys(self, by: str) -> tuple[Signer, ...]:
        """New keys for this cloud: their public halves. They count once the operator has signed them.

        Raises:
            SignatureError: they cannot be written.
        """
        log.info("new keys for releases were made for %s", by)
        return self.signed.make_keys()

    def retrain(self, model: str, psi: float | None, cooldown: float, by: str) -> str:
        """Say when a model's job runs again by itself; a sentence.

        Raises:
            ValueError: there is no such model, or no job made it.
        """
        card = self._card(model, 0)
        with self._lock:
            if psi is None:
                self._states.keep(replace(self._states.of(model), retrain=None))
                return f"{model} is no longer trained again by itself."
            if not self._job(card):
                raise CatalogueError(f"No job of this cloud made version {card.version} of {model}.")
            before = self._states.of(model).retrain
            rule = RetrainRule(psi, cooldown, by, 0.0 if before is None else before.last)
            self._states.keep(replace(self._states.of(model), retrain=rule))
        return f"When the inputs of {model} drift beyond {psi:g}, its job runs again."

    # What nodes report.

    def outcome(self, outcome: Outcome) -> None:
        """What became of a release on a node."""
        with self._lock:
            if outcome.model not in self._states:
                return
            state = self._states.of(outcome.model)
            # An alarm may overtake what became of a version, and does not take its place.
            field = "alarms" if outcome.what == "alarm" else "outcomes"
            heard: dict[str, Outcome] = getattr(state, field)
            before = heard.get(outcome.node)
            if before is not None and (before == outcome or before.at > outcome.at):
                return
            self._states.keep(replace(state, **{field: heard | {outcome.node: outcome}}))
            self._rollouts.handle(outcome.model, outcome)

    def vitals(self, vitals: Vitals) -> None:
        """Take a report of how a version fares on nodes."""
        with self._lock:
            if vitals.model not in self._states:
                return
            state = self._states.of(vitals.model)
            tally = state.tallies.get(vitals.version, Tally()) + vitals.tally
            self._states.keep(replace(state, tallies=_recent(state.tallies, vitals.version, tally)))
            self._drift(vitals)
            self._rollouts.handle(vitals.model, vitals)
            self._retrain(vitals.model, vitals.version)

    def seen(self) -> None:
        """Take note that nodes came or went."""
        with self._lock:
            self._rollouts.seen()

    def tick(self) -> float:
        """Do what is due; Unix time at which to call next."""
        with self._lock:
            following = self._rollouts.tick()
            before = self.timestamp()
            renewal = self.signed.renew()
            if self.timestamp() != before:
                self._changed()
            return renewal if following is None else min(renewal, following)

    # After a restore.

    def is_behind(self, timestamp: bytes) -> bool:
        """Whether a timestamp is this cloud's own, and newer than all that it knows: it has gone back to a backup."""
        return self.signed.is_later(timestamp)

    def restored(self, job: int, now: float | None = None) -> Floors:
        """The cloud went back to a backup: give no number for the second time.

        Args:
            job: the highest number of a job that is known.
            now: Unix time; None asks the clock.

        Returns:
            What is above all numbers that were given before.
        """
        now = time.time() if now is None else now
        with self._lock:
            floors = read_floors(self._database).raised(now, job, self.catalogue.highest())
            keep_floors(self._database, floors)
            self.signed.leap(now)
            self._rollouts.restored(floors.releases)
            self._changed()
        return floors

    # What is.

    def timestamp(self) -> bytes:
        """The newest signed timestamp; empty before there is one."""
        return self.signed.file(TIMESTAMP) or b""

    def may_fetch(self, digest: str) -> bool:
        """Whether whoever is a member may have that file."""
        return digest == self._exported or self.catalogue.names(digest)

    def model_reports(self, model: str = "") -> list[ModelReport]:
        """All models, or one.

        Raises:
            CatalogueError: there is no such model.
        """
        return [self._model_report(name) for name in ([model] if model else self.catalogue.models())]

    def drift(self) -> dict[str, dict[int, float]]:
        """How far inputs have moved from the reference, by model and version: the largest stability index."""
        return {model: dict(self._states.of(model).psi) for model in self.catalogue.models()}

    def _model_report(self, model: str) -> ModelReport:
        cards = tuple(reversed(self.catalogue.versions(model)))
        state = self._states.of(model)
        approved = self.signed.approved(model)
        digests = {card.version: self.catalogue.asset(model, card.version).digest for card in cards}
        return ModelReport(
            model=model,
            cards=cards,
            release=state.release,
            outcomes=(*state.outcomes.values(), *state.alarms.values()),
            digests=digests,
            approved={version: approved[digest] for version, digest in digests.items() if digest in approved},
            tallies=state.tallies,
            psi=state.psi,
            notes=self._states.notes(model),
            next_ring=state.rollout.next_ring,
        )

    # Inside.

    def _card(self, model: str, version: int) -> Card:
        return self.catalogue.get(model, version) if version else self.catalogue.latest(model)

    def _drift(self, vitals: Vitals) -> None:
        """What a report says of drift."""
        reference = self._reference(vitals.model, vitals.version) if vitals.sketch else None
        if reference is None:
            return
        try:
            drifted = self._rules.saw(vitals, reference, time.monotonic())
        except SketchError as error:
            log.warning("a report of %s about drift cannot be read: %s", vitals.model, error)
            return
        if drifted is not None:
            self._states.note(drifted.model, drifted.why)
        psi = self._rules.psi(vitals.model, vitals.version)
        if psi is not None:
            state = self._states.of(vitals.model)
            self._states.keep(replace(state, psi=_recent(state.psi, vitals.version, psi)))
            self._rollouts.handle(vitals.model, events.DriftReported(vitals.version, psi))

    def _retrain(self, model: str, version: int) -> None:
        """Run the job of a version again if its inputs have drifted beyond what the operator said."""
        state, now = self._states.of(model), time.time()
        rule, psi = state.retrain, self._rules.psi(model, version)
        if rule is None or psi is None or psi < rule.psi or now < rule.last + rule.cooldown:
            return
        job = self._job(self._card(model, version))
        if job:
            self._states.keep(replace(state, retrain=replace(rule, last=now)))
            why = f"Job {job} runs again, because the inputs of version {version} have drifted."
            self._states.note(model, why, rule.by)
            self._train(job)

    def _job(self, card: Card) -> str:
        """The job of this cloud that trained a version, or the one that it was linked from; empty: there is none."""
        while not card.lineage.job and card.lineage.parent:
            card = self._card(card.model, card.lineage.parent)
        return "" if card.lineage.origin else card.lineage.job

    def _reference(self, model: str, version: int) -> Reference | None:
        key = (model, version)
        if key not in self._references:
            try:
                asset = self.catalogue.get(model, version).reference
            except (CatalogueError, CardError):
                asset = None
            data = None if asset is None else self.blobs.path(asset.digest).read_bytes()
            self._references[key] = None if data is None else Reference.decode(data)
            if len(self._references) > RECENT:
                del self._references[next(iter(self._references))]
        return self._references[key]


def _recent(numbers: Mapping[int, N], version: int, number: N) -> dict[int, N]:
    """By version, with a new one: it comes last, and the one that was the longest without news goes."""
    others = [(other, value) for other, value in numbers.items() if other != version]
    return dict((*others[1 - RECENT :], (version, number)))
