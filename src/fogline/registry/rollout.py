"""A rollout at the cloud: a pure state machine, without a clock and without any input or output.

``handle(rollout, event, now)`` gives the next state, perhaps a release to sign, and sentences for the record. The state
is one value that can be stored; the same events over it give the same again. Every release has a higher number than the
one before: also an abort, which points back to the version before, for nodes refuse to go back.

Store the state before its release is published: after a crash in between, ``Rollout.release()`` gives it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from fogline.registry import rollout_events as events
from fogline.registry.release import Outcome, Release, Tally, Vitals
from fogline.registry.rollout_events import Event, ServedVersion
from fogline.registry.rollout_state import RUNNING, Phase, Rollout

ABSENCE = 600.0
"""Seconds for which a ring waits for its nodes when all of them have gone, as after a restart of the cloud."""
RECENT = 10_000
"""Answers of the good version that are looked back on, and twice as many at most."""


class RolloutStep(NamedTuple):
    """What an event led to."""

    rollout: Rollout
    release: Release | None = None
    """To be signed and published."""
    notes: tuple[str, ...] = ()
    """Sentences for the record."""


class RolloutError(ValueError):
    """A command that makes no sense now; the text is a sentence. Nothing has changed."""


def handle(rollout: Rollout, event: Event, now: float) -> RolloutStep:
    """What follows from an event. An outcome may come twice and late; vitals add up, so each must come once.

    Args:
        rollout: the state before.
        event: what happened.
        now: Unix time.

    Raises:
        RolloutError: the command makes no sense now, or the report is of another model.
    """
    match event:
        case events.Begin():
            return _begin(rollout, event, now)
        case events.Rollback():
            return _rollback(rollout, event.to)
        case events.Abort():
            return _abort(_running(rollout), event.why)
        case events.Pause():
            return _pause(_running(rollout, "rolling"), event.why)
        case events.Resume():
            resumed = replace(_running(rollout, "paused"), phase="rolling", since=now)
            return _issue(resumed, f"The rollout of {rollout.name} goes on.")
        case events.Advance():
            return _next(replace(_running(rollout), phase="rolling"), now)
        case events.NodesKnown():
            return _known(rollout, event.nodes, now)
        case events.DriftReported():
            current = rollout.concerns(event.version)
            return _judge(replace(rollout, psi=max(rollout.psi, event.psi)) if current else rollout, now)
        case events.CloudRestored():
            return _restored(rollout, event.number)
        case Outcome():
            return _heard(_own(rollout, event.model), event, now)
        case Vitals():
            return _judge(_counted(_own(rollout, event.model), event), now)
        case events.Tick():
            return _judge(rollout, now)


def due(rollout: Rollout) -> float | None:
    """Unix time at which a :class:`~fogline.registry.rollout_events.Tick` would do something.

    None: only another event will.
    """
    if rollout.phase != "rolling" or rollout.ready:
        return None
    if not rollout.inside:
        return rollout.vacant + ABSENCE if rollout.vacant and rollout.nodes else None
    return rollout.since + (rollout.plan.ring_seconds if rollout.succeeded else rollout.plan.ring_longest)


# Commands


def _begin(rollout: Rollout, event: events.Begin, now: float) -> RolloutStep:
    if rollout.running and rollout.new == event.new and rollout.plan == event.plan:
        return RolloutStep(rollout)
    if event.plan.mode == "shadow" and rollout.good is None:
        raise RolloutError(f"{rollout.model} has no version yet that another could stand beside; roll it out live.")
    # Nodes of a ring go from one version to the newer, and not back in between; but never all of them at once.
    stays = rollout.running and rollout.mode == event.plan.mode == "live" and rollout.width < 1
    following = replace(rollout, new=event.new, plan=event.plan, mode=event.plan.mode)
    newer = rollout.running and rollout.new != event.new  # Else it is the same, to be rolled out in another way.
    note = f"Version {event.new.version} of {rollout.model} supersedes {rollout.name}." if newer else None
    return _start(following, now, stays, note)


def _start(rollout: Rollout, now: float, stays: bool, note: str | None = None) -> RolloutStep:
    """The first ring of a version; with ``stays``, of at least the nodes that are in a ring already."""
    assert rollout.new is not None
    number = rollout.number + 1
    fresh = replace(
        rollout,
        phase="rolling",
        first=number,
        salt=rollout.salt if stays else f"{rollout.model}/{rollout.new.version}/{number}",
        width=rollout.width if stays else 0.0,
        share=rollout.share if stays else 0.0,
        named=rollout.named if stays else (),
        outcomes={},
        fresh=Tally(),
        beside=rollout.beside if stays else Tally(),
        psi=0.0,
    )
    ring = max((place for place, share in enumerate(rollout.plan.rings) if share <= fresh.width), default=0)
    return _enter(fresh, ring, now, note)


def _rollback(rollout: Rollout, to: ServedVersion) -> RolloutStep:
    following = replace(
        rollout.settled(),
        new=to,
        good=to,
        served=rollout.on_all(to.version),
        mode="live",
        phase="done",
        width=1.0,
        share=1.0,
        named=(),
        salt=f"{rollout.model}/{to.version}/{rollout.number + 1}",
        recent=Tally(),
        earlier=Tally(),
    )
    return _issue(following, f"{rollout.model} is rolled back to version {to.version} on all nodes.")


def _restored(rollout: Rollout, number: int) -> RolloutStep:
    """What nodes serve stays as it is until somebody releases a version; one that is on its way is told anew."""
    above = replace(rollout, number=max(rollout.number, number))
    if not rollout.running:
        return RolloutStep(above)
    return _issue(replace(above, first=above.number + 1, outcomes={}), f"The rollout of {rollout.name} is told anew.")


def _pause(rollout: Rollout, why: str) -> RolloutStep:
    return _issue(replace(rollout, phase="paused"), f"The rollout of {rollout.name} is paused: {why}.")


def _abort(rollout: Rollout, why: str) -> RolloutStep:
    """Everybody goes back; without a version before, nobody else gets the new one."""
    share = 0.0 if rollout.good is None else 1.0
    note = f"The rollout of {rollout.name} is aborted: {why}."
    following = replace(rollout.settled(), phase="aborted", mode="live", width=share, share=share, named=())
    return _issue(following, note)


# Reports


def _known(rollout: Rollout, nodes: Iterable[str], now: float) -> RolloutStep:
    following = replace(rollout, nodes=tuple(sorted(frozenset(nodes)))).recounted()
    if following.inside:
        following = replace(following, vacant=0.0)
    elif rollout.inside:
        following = replace(following, vacant=now)
    if following.phase == "rolling" and following.nodes and not following.inside and not following.vacant:
        return _enter(following, following.ring, now)
    return _judge(following, now)


def _heard(rollout: Rollout, outcome: Outcome, now: float) -> RolloutStep:
    if outcome.what == "alarm":
        return RolloutStep(rollout, notes=(f"{outcome.node} raises an alarm about {outcome.model}: {outcome.why}",))
    gone = outcome.what in ("reverted", "failed")
    note = (f"{outcome.node} {outcome.what} {outcome.model} version {outcome.version}: {outcome.why}",) if gone else ()
    if not rollout.running and rollout.good is not None and outcome.version == rollout.good.version:
        return RolloutStep(rollout, notes=note)  # Long after it was found good.
    before = rollout.outcomes.get(outcome.node)
    if (
        not rollout.concerns(outcome.version)
        or outcome.number < rollout.first
        or not rollout.holds(outcome.node)
        or (before is not None and (before == outcome or before.at > outcome.at))
    ):
        return RolloutStep(rollout)
    nodes = tuple(sorted({*rollout.nodes, outcome.node}))
    following = replace(rollout, nodes=nodes, outcomes=rollout.outcomes | {outcome.node: outcome}).recounted()
    step = _judge(following, now)
    return step._replace(notes=(*note, *step.notes))


def _counted(rollout: Rollout, vitals: Vitals) -> Rollout:
    """The counts of both versions, each for itself, whichever nodes they come from."""
    if rollout.concerns(vitals.version):
        return replace(rollout, fresh=rollout.fresh + vitals.tally)
    if rollout.good is None or vitals.version != rollout.good.version:
        return rollout
    if rollout.running:
        return replace(rollout, beside=rollout.beside + vitals.tally)
    recent = rollout.recent + vitals.tally
    return (
        replace(rollout, recent=Tally(), earlier=recent)
        if recent.answers >= RECENT
        else replace(rollout, recent=recent)
    )


# What follows


def _judge(rollout: Rollout, now: float) -> RolloutStep:
    """Abort, go on or pause, if it is time for that."""
    if not rollout.running:
        return RolloutStep(rollout)
    if (why := rollout.fault()) is not None:
        return _abort(rollout, why)
    if rollout.phase == "paused" or rollout.ready:
        return RolloutStep(rollout)
    if not rollout.inside:
        moment = due(rollout)
        return RolloutStep(rollout) if moment is None or now < moment else _enter(rollout, rollout.ring, now)
    if rollout.succeeded:
        if now < rollout.since + rollout.plan.ring_seconds:
            return RolloutStep(rollout)
        if rollout.plan.automatic:
            return _next(rollout, now)
        note = f"Ring {rollout.ring + 1} of {rollout.name} is through; the next one begins by hand."
        return RolloutStep(replace(rollout, ready=True), notes=(note,))
    if now >= rollout.since + rollout.plan.ring_longest:
        done, wanted = rollout.successes, rollout.plan.thresholds.success
        return _pause(
            rollout, f"only {done} of {rollout.inside} nodes of its ring are through, and {100 * wanted:.0f} % must be"
        )
    return RolloutStep(rollout)


def _next(rollout: Rollout, now: float) -> RolloutStep:
    """The next ring that adds a node, or the end."""
    for ring in range(rollout.ring + 1, len(rollout.plan.rings)):
        if rollout.size(rollout.plan.rings[ring]) > rollout.inside:
            return _enter(rollout, ring, now)
    if rollout.mode == "live":
        return _finish(rollout)
    tally = rollout.fresh
    seen = f"it agreed in {tally.agreed} of {tally.compared} answers" if tally.compared else "nothing was compared"
    note = f"{rollout.name} has been in the shadow of all nodes: {seen}."
    if rollout.plan.then_live:
        return _start(replace(rollout, mode="live"), now, stays=False, note=note)
    return _issue(replace(rollout.settled().widened(1.0), phase="done", mode="live", new=rollout.good), note)


def _finish(rollout: Rollout) -> RolloutStep:
    assert rollout.new is not None
    following = replace(
        rollout.widened(1.0),
        phase="done",
        good=rollout.new,
        served=rollout.on_all(rollout.new.version),
        recent=rollout.fresh,
        earlier=Tally(),
        beside=Tally(),
    )
    return _issue(following, f"{rollout.name} is released to all nodes.")


def _enter(rollout: Rollout, ring: int, now: float, note: str | None = None) -> RolloutStep:
    """A ring begins."""
    wider = rollout.widened(max(rollout.plan.rings[ring], rollout.width))
    entered = replace(wider, ring=ring, since=now, ready=False, vacant=0.0)
    silently = " silently" if rollout.mode == "shadow" else ""
    step = _issue(entered, f"{entered.name} goes{silently} to {entered.inside} of {len(entered.nodes)} nodes.")
    return step._replace(notes=(note, *step.notes)) if note else step


def _issue(rollout: Rollout, note: str) -> RolloutStep:
    """What the state says to nodes, under the next number."""
    following = replace(rollout, number=rollout.number + 1)
    return RolloutStep(following, following.release(), (note,))


# Checks


def _own(rollout: Rollout, model: str) -> Rollout:
    if model != rollout.model:
        raise RolloutError(f"A report about {model} came to the rollout of {rollout.model}.")
    return rollout


def _running(rollout: Rollout, *phases: Phase) -> Rollout:
    if rollout.phase not in (phases or RUNNING):
        state = f"its rollout is {rollout.phase}" if rollout.running else "nothing is being rolled out"
        raise RolloutError(f"{rollout.model}: {state}, so that cannot be done now.")
    return rollout
