"""The cloud's registry: versions come in, releases go out, and reports decide what happens next."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from fogline.inference.card import Card, CardError, Point
from fogline.inference.sketches import Reference, SketchError
from fogline.jobs.job import Publish
from fogline.registry import plan as events
from fogline.registry.archive import export_version, import_version
from fogline.registry.catalogue import Catalogue, CatalogueError
from fogline.registry.drift import DriftRule, DriftRules
from fogline.registry.linking import chosen, fitted
from fogline.registry.plan import Event, Plan, Served
from fogline.registry.release import Outcome, Probation, Release, ReleaseError, Tally, Thresholds, Tier, Vitals
from fogline.registry.rollout import Rollout, due, handle
from fogline.registry.standing import Note, Standing, Steer
from fogline.registry.trust.charter import read_approvals, read_charter
from fogline.registry.trust.releases import SignedReleases
from fogline.storage import Blobs, Database

log = logging.getLogger("fogline.registry")
MODELS = "registry-model"
R = TypeVar("R", Thresholds, Probation)
SHOWN = 200
"""Lines of a model's record that are shown."""


class Retrain(msgspec.Struct, frozen=True):
    """When a model's job runs again by itself."""

    psi: float
    cooldown: float
    """Seconds."""
    by: str
    last: float = 0.0
    """Unix time of the last such run, whichever version it was for."""


class State(msgspec.Struct, frozen=True):
    """What is kept of a model besides its versions."""

    rollout: Rollout
    release: Release | None = None
    """The newest one; signed after it is kept."""
    plan: Plan = Plan()
    """Of the last rollout."""
    outcomes: dict[str, Outcome] = {}
    """What became of a version, the last of each node,"""
    alarms: dict[str, Outcome] = {}
    """and its last alarm."""
    tallies: dict[int, Tally] = {}
    psi: dict[int, float] = {}
    retrain: Retrain | None = None


_STATE = msgspec.msgpack.Decoder(State)
_NOTE = msgspec.json.Decoder(Note)


class Publisher:
    """The registry of a cloud. Every call may come from any thread.

    Args:
        database: the cloud's records.
        catalogue: the versions.
        signed: the releases.
        nodes: who serves now, and on which tier.
        changed: told that there is a new signed timestamp.
        train: runs a job again, by its id, and says what it is called now.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        signed: SignedReleases,
        nodes: Callable[[], Mapping[str, Tier]],
        changed: Callable[[], None],
        train: Callable[[str], None],
    ) -> None:
        self.catalogue = catalogue
        self.blobs: Blobs = catalogue.blobs
        self.signed = signed
        self._database = database
        self._nodes = nodes
        self._changed = changed
        self._train = train
        self._lock = threading.RLock()
        self._states = {model: _STATE.decode(body) for model, body in database.all(MODELS)}
        self._rules = DriftRules(DriftRule())
        self._references: dict[tuple[str, int], Reference | None] = {}
        self._exported = ""

    def start(self) -> None:
        """Sign what a crash has left unsigned."""
        with self._lock:
            signed = self.signed.releases()
            for model, state in self._states.items():
                release = state.release
                if release is not None and (model not in signed or signed[model].number < release.number):
                    self.signed.publish(release)
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
        self._note(published.model, f"Version {published.version} is published.", published.lineage.by)
        with self._lock:
            state = self._state(published.model)
            good = state.rollout.good
            if settings.roll_out and (good is None or published.version > good.version):
                if good is None and plan.mode == "shadow":
                    plan = replace(plan, mode="live")  # There is nothing yet that it could stand beside.
                self._begin(self._linked_as_before(published), plan)
        return published

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
        if number and not number.isdecimal():
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
        self._note(card.model, f"Version {card.version} is imported.", by)
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
            f"the test set {point.offloaded:.1%} of the samples, and {point.accuracy:.2%} are right. Have it served: "
            f"fogline models promote {model}@{published.version}"
        )

    def _link(self, small: Card, to: str, accuracy: float | None, budget: float | None, by: str) -> tuple[Card, Point]:
        model = small.model
        cascade = fitted(small, self._card(to, 0), self.blobs.path, accuracy, budget)
        lineage = replace(small.lineage, job="", origin="", parent=small.version, by=by)
        published = self.catalogue.publish(replace(small, cascade=cascade, lineage=lineage, created=time.time()), {})
        self._note(model, f"Version {published.version} asks {to} below {cascade.threshold:.3f}.", by)
        return published, chosen(cascade)

    def _linked_as_before(self, card: Card) -> Card:
        """A version that asks whom the served one asks, as often; the version itself if that is nobody."""
        rollout = self._state(card.model).rollout
        served = rollout.new or rollout.good
        before = None if served is None else self._card(card.model, served.version).cascade
        if before is None:
            return card
        try:
            return self._link(card, before.to, None, chosen(before).offloaded, card.lineage.by)[0]
        except ValueError as error:
            self._note(card.model, f"Version {card.version} asks nobody: {error}")
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
                    plan = self._state(model).plan
                    plan = replace(
                        plan,
                        rings=wanted.rings or (1.0,),
                        mode="shadow" if wanted.shadow else "live",
                        tiers=wanted.tiers or plan.tiers,
                    )
                    notes = self._begin(card, plan, by)
                case "rollback":
                    card = self._card(model, wanted.version or self._before(model))
                    notes = self._handle(model, events.Rollback(self._served(card)), by)
                case "pause":
                    notes = self._handle(model, events.Pause(f"by {by}"), by)
                case "resume":
                    notes = self._handle(model, events.Resume(), by)
                case "abort":
                    notes = self._handle(model, events.Abort(f"by {by}"), by)
                case "advance":
                    notes = self._handle(model, events.Advance(), by)
        return " ".join(notes) or "Nothing changes."

    def charter(self) -> bytes:
        """All that the operator's offline keys have signed."""
        return self.signed.charter().encoded()

    def adopt(self, charter: bytes, by: str) -> str:
        """Take over what the operator signed; a sentence.

        Raises:
            MetadataError: it is not the operator's, or not newer.
        """
        self.signed.adopt(read_charter(charter))
        log.info("a new charter was adopted from %s", by)
        self._changed()
        return "The cloud has taken over what was signed; nodes of the stable channel follow it."

    def retrain(self, model: str, psi: float | None, cooldown: float, by: str) -> str:
        """Say when a model's job runs again by itself; a sentence.

        Raises:
            ValueError: there is no such model, or no job made it.
        """
        card = self._card(model, 0)
        with self._lock:
            if psi is None:
                self._keep(replace(self._state(model), retrain=None))
                return f"{model} is no longer trained again by itself."
            if not self._job(card):
                raise CatalogueError(f"No job of this cloud made version {card.version} of {model}.")
            before = self._state(model).retrain
            rule = Retrain(psi, cooldown, by, 0.0 if before is None else before.last)
            self._keep(replace(self._state(model), retrain=rule))
        return f"When the inputs of {model} drift beyond {psi:g}, its job runs again."

    # What nodes report.

    def outcome(self, outcome: Outcome) -> None:
        """What became of a release on a node."""
        with self._lock:
            if outcome.model not in self._states:
                return
            state = self._states[outcome.model]
            # An alarm may overtake what became of a version, and does not take its place.
            field = "alarms" if outcome.what == "alarm" else "outcomes"
            heard: dict[str, Outcome] = getattr(state, field)
            before = heard.get(outcome.node)
            if before is not None and (before == outcome or before.at > outcome.at):
                return
            self._keep(replace(state, **{field: heard | {outcome.node: outcome}}))
            self._handle(outcome.model, outcome)

    def vitals(self, vitals: Vitals) -> None:
        """How a version fares."""
        with self._lock:
            if vitals.model not in self._states:
                return
            state = self._states[vitals.model]
            tally = state.tallies.get(vitals.version, Tally()) + vitals.tally
            self._keep(replace(state, tallies=state.tallies | {vitals.version: tally}))
            self._drift(vitals)
            self._handle(vitals.model, vitals)
            self._retrain(vitals.model, vitals.version)

    def seen(self) -> None:
        """Nodes came or went."""
        with self._lock:
            for model, state in list(self._states.items()):
                if state.rollout.phase in ("rolling", "paused"):
                    self._handle(model, events.Tick())

    def tick(self) -> float:
        """Do what is due; Unix time at which to call next."""
        with self._lock:
            for model, state in list(self._states.items()):
                when = due(state.rollout)
                if when is not None and when <= time.time():
                    self._handle(model, events.Tick())
            before = self.timestamp()
            following = self.signed.renew()
            if self.timestamp() != before:
                self._changed()
            dues = [when for state in self._states.values() if (when := due(state.rollout)) is not None]
            return min(following, *dues) if dues else following

    # What is.

    def timestamp(self) -> bytes:
        """The newest signed timestamp; empty before there is one."""
        return self.signed.file("timestamp.json") or b""

    def may_fetch(self, digest: str) -> bool:
        """Whether whoever is a member may have that file."""
        return digest == self._exported or self.catalogue.names(digest)

    def standings(self, model: str = "") -> list[Standing]:
        """All models, or one.

        Raises:
            CatalogueError: there is no such model.
        """
        return [self._standing(name) for name in ([model] if model else self.catalogue.models())]

    def _standing(self, model: str) -> Standing:
        cards = tuple(reversed(self.catalogue.versions(model)))
        state = self._states.get(model, State(Rollout(model=model)))
        approved = self._approved(model)
        notes = [_NOTE.decode(body) for _, body in self._database.notes(f"model/{model}", limit=10 * SHOWN)]
        return Standing(
            model=model,
            cards=cards,
            release=state.release,
            outcomes=(*state.outcomes.values(), *state.alarms.values()),
            approved=tuple(c.version for c in cards if self.catalogue.asset(model, c.version).digest in approved),
            tallies=state.tallies,
            psi=state.psi,
            notes=tuple(notes[-SHOWN:]),
        )

    def _approved(self, model: str) -> set[str]:
        listed = self.signed.charter().approvals.get(model)
        return {approval.card for approval in read_approvals(listed)} if listed else set()

    # Inside.

    def _card(self, model: str, version: int) -> Card:
        return self.catalogue.get(model, version) if version else self.catalogue.latest(model)

    def _served(self, card: Card) -> Served:
        return Served(self.catalogue.asset(card.model, card.version), card.version)

    def _before(self, model: str) -> int:
        """The version before the one that is served: one that was on all nodes, and not one that was given up."""
        rollout = self._state(model).rollout
        now = rollout.new if rollout.running else rollout.good
        there = {card.version for card in self.catalogue.versions(model)}
        older = [version for version in rollout.served if now and version < now.version and version in there]
        if not older:
            raise CatalogueError(
                f"No version of {model} was on all nodes before the one that is served; name the one to go back to."
            )
        return older[-1]

    def _state(self, model: str) -> State:
        return self._states.get(model) or State(Rollout(model=model))

    def _begin(self, card: Card, plan: Plan, by: str = "") -> Sequence[str]:
        self._keep(replace(self._state(card.model), plan=plan))
        self._introduce(card.model, plan)
        return self._handle(card.model, events.Begin(self._served(card), plan), by)

    def _handle(self, model: str, event: Event, by: str = "") -> Sequence[str]:
        """One step of a model's rollout: it is kept before anybody hears of it."""
        self._introduce(model, self._state(model).plan)
        return self._step(model, event, by)

    def _introduce(self, model: str, plan: Plan) -> None:
        """Tell the rollout who serves now."""
        known = frozenset(name for name, tier in self._nodes().items() if tier in plan.tiers)
        if known != frozenset(self._state(model).rollout.nodes):
            self._step(model, events.Known(known))

    def _step(self, model: str, event: Event, by: str = "") -> Sequence[str]:
        state = self._state(model)
        step = handle(state.rollout, event, time.time())
        if step.rollout != state.rollout:
            self._keep(replace(state, rollout=step.rollout, release=step.release or state.release))
        if step.release is not None:
            self.signed.publish(step.release)
            self._changed()
        for note in step.notes:
            self._note(model, note, by)
        return step.notes

    def _keep(self, state: State) -> None:
        self._database.put(MODELS, state.rollout.model, msgspec.msgpack.encode(state))
        self._states[state.rollout.model] = state

    def _note(self, model: str, text: str, by: str = "") -> None:
        self._database.note(f"model/{model}", msgspec.json.encode(Note(time.time(), text, by)))

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
            self._note(drifted.model, drifted.why)
        psi = self._rules.psi(vitals.model, vitals.version)
        if psi is not None:
            state = self._states[vitals.model]
            self._keep(replace(state, psi=state.psi | {vitals.version: psi}))
            self._handle(vitals.model, events.Drift(vitals.version, psi))

    def _retrain(self, model: str, version: int) -> None:
        """Run the job of a version again if its inputs have drifted beyond what the operator said."""
        state, now = self._states[model], time.time()
        rule, psi = state.retrain, self._rules.psi(model, version)
        if rule is None or psi is None or psi < rule.psi or now < rule.last + rule.cooldown:
            return
        job = self._job(self._card(model, version))
        if job:
            self._keep(replace(state, retrain=replace(rule, last=now)))
            self._note(model, f"Job {job} runs again, because the inputs of version {version} have drifted.", rule.by)
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
        return self._references[key]


def plan_of(settings: Publish) -> Plan:
    """How a job wants its versions rolled out.

    Raises:
        ValueError: a rule is unknown, or makes no sense.
    """
    return Plan(
        rings=settings.rings,
        thresholds=_rules(Thresholds, "thresholds", settings.thresholds),
        probation=_rules(Probation, "probation", settings.probation),
        ring_seconds=settings.ring_time,
        ring_longest=max(7200.0, 10 * settings.ring_time),
        mode="shadow" if settings.shadow else "live",
        then_live=settings.shadow,
        tiers=settings.tiers,
    )


def _rules(kind: type[R], name: str, given: Mapping[str, float]) -> R:
    unknown = [key for key in given if key not in kind.__struct_fields__]
    if unknown:
        known = ", ".join(kind.__struct_fields__)
        raise ReleaseError(f"publish.{name} has no rule '{unknown[0]}'; there are {known}.")
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise ReleaseError(f"publish.{name}: {error}.") from None
