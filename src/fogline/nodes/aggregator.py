"""The state machine of an aggregator: the cloud, a fog, or any node between.

It asks children for updates of its model, waits with a quorum and a deadline, and closes the round: an
aggregator without a parent moves its model; one with a parent merges its children's updates into one for the
parent, or first makes rounds of its own.

State that must survive a crash changes only in :meth:`Aggregator.apply`, from records that are written to the
journal first; replaying them gives the state back.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass

from fogline.jobs import Mode, Tier
from fogline.nodes import records
from fogline.nodes.effects import (
    Adopt,
    Count,
    Effect,
    Finished,
    Forget,
    Lift,
    Member,
    Merge,
    Move,
    Send,
    SetTimer,
    Write,
)
from fogline.nodes.events import Event, Fired, Halt, Joined, Left, Received, Started
from fogline.nodes.ledger import Ask, Got, Ledger
from fogline.nodes.messages import Receipt, Report, Stop, Work, model_key, update_key
from fogline.nodes.policies import Feedback, Selection
from fogline.nodes.roster import ClassView, Presence, Roster


@dataclass(frozen=True, slots=True)
class Role:
    """What an aggregator is in its job."""

    name: str
    parent: str | None
    tier: Tier
    mode: Mode
    rounds: int
    """At the root: rounds of the job. Below: rounds per round of the parent."""
    deadline: float
    buffer: int = 1
    """Async mode: reports per move."""
    group_models: bool = False
    """Whether it forms its own group's model even with one round per parent round."""
    seed: int = 0
    retry: float | None = None
    """Seconds until an unconfirmed report is sent again; None where links lose nothing."""

    @property
    def moves(self) -> bool:
        """Whether it has a model of its own (else it merges its children's updates for the parent)."""
        return self.parent is None or self.rounds > 1 or self.group_models or self.mode != "sync"


class Aggregator:
    """A node with a downlink, and an uplink unless it is the root.

    Args:
        role: what it is in the job.
        policy: selects the children of a round.
        presence: whether a child can be asked at a time.
    """

    def __init__(self, role: Role, policy: Selection, presence: Presence | None = None) -> None:
        self.role = role
        self.name = role.name
        self.policy = policy
        self.roster = Roster(presence, role.deadline)
        lanes = role.tier.speed_classes if role.mode == "semi-async" else 1
        self.ledger = Ledger(lanes, memory=role.tier.staleness_cap)
        self.now = 0.0
        self._effects: list[Effect] = []
        self._random = random.Random()
        digest = hashlib.sha256(f"{role.seed}/{role.name}".encode()).digest()
        self._seed = int.from_bytes(digest[:8], "little")
        self._classes: tuple[int, list[list[str]]] = (-1, [])

    def handle(self, event: Event, now: float) -> list[Effect]:
        """React to what happened at time ``now`` (seconds)."""
        self.now = now
        self._effects = []
        match event:
            case Received(sender=sender, message=Report() as report):
                self._report(sender, report)
            case Received(sender=sender, message=Work() as work) if sender == self.role.parent:
                self._work(work)
            case Received(sender=sender, message=Receipt(task=task)) if sender == self.role.parent:
                self._receipt(task)
            case Received(sender=sender, message=Stop()) if sender == self.role.parent:
                self._end()
            case Fired(timer=timer):
                self._fired(timer)
            case Joined(child=child, hello=hello):
                self.roster.add(child, hello)
                self._wake()
            case Left(child=child):
                self._left(child)
            case Started():
                self._started()
            case Halt():
                self._end()
            case _:
                pass
        return self._effects

    def apply(self, record: records.Record) -> None:
        """Take over what a record says; the journal's replay calls this and nothing else."""
        self.ledger.apply(record)

    # Starting, ending, timers.

    def _started(self) -> None:
        ledger = self.ledger
        if ledger.assigned is None and self.role.parent is None:
            self._log(records.Assigned(task=0, round=0, model=self._model()))
        for ask in ledger.asks.values():
            if ask.open:
                self.roster.occupy(ask.child)
        for lane in ledger.lanes:
            if lane.open:
                self._set_deadline(lane.index)
        self._post()
        self._wake()

    def _wake(self) -> None:
        """Go on in every lane that waits."""
        for lane in self.ledger.lanes:
            if self.ledger.working and not lane.open:
                self._continue(lane.index)

    def _end(self) -> None:
        if not self.ledger.ended:
            self._log(records.Ended())
            self._do(Finished())

    def _fired(self, timer: str) -> None:
        kind, _, lane = timer.partition("/")
        if kind == "retry":
            self._post()
        elif self.ledger.working:
            if self.ledger.lanes[int(lane)].open:
                self._deadline(int(lane))
            elif kind == "open":
                self._continue(int(lane))
            elif not len(self.roster):
                self._abandon(int(lane), "nobody is there")

    # The uplink.

    def _work(self, work: Work) -> None:
        ledger = self.ledger
        if work.task in ledger.outbox:
            self._post()
        if ledger.ended or (ledger.assigned is not None and work.task <= ledger.assigned.task):
            return  # A copy of a request that was taken before.
        if self.role.moves:
            base = self._model() if ledger.version >= 0 else None
            self._do(Adopt(work.model, base, self._model(ahead=1)))
        self._log(records.Assigned(work.task, work.round, work.model))
        self._wake()
        if not len(self.roster):
            self._set_deadline(0)

    def _receipt(self, task: int) -> None:
        if task not in self.ledger.outbox:
            return
        report, inside = self.ledger.outbox[task]
        self._log(records.Confirmed(task))
        # Only now may the updates inside the report be forgotten: the parent has them on disk.
        self._do(Forget((*inside, report.update) if report.update else inside))

    def _post(self) -> None:
        """Send every report that has no receipt."""
        if self.role.parent is None or not self.ledger.outbox:
            return
        for report, _ in self.ledger.outbox.values():
            self._do(Send(self.role.parent, report))
        if self.role.retry is not None:
            self._do(SetTimer("retry", self.now + self.role.retry))

    # Asking children.

    def _open(self, index: int) -> None:
        """Begin a round of a lane, or wait where nobody can be asked."""
        tier = self.role.tier
        if self.role.mode == "ring":
            chosen, need = self._next_leg()
        else:
            children = self._children_of(index)
            cohort = tier.cohort_of(len(children)) if len(children) else 0
            chosen = self._select(children, math.ceil(cohort * tier.over_selection))
            need = min(cohort, len(chosen))
        if not chosen:
            if len(self.roster):
                self._do(SetTimer(f"open/{index}", self.now + min(60.0, self.role.deadline)))
            return
        if self.role.mode == "async":
            need = min(self.role.buffer, len(chosen))
        self._ask(index, chosen, need, min(need, tier.quorum_of(need)))
        self._set_deadline(index)

    def _children_of(self, index: int) -> Roster | ClassView:
        if self.role.mode != "semi-async":
            return self.roster
        revision, classes = self._classes
        if revision != self.roster.revision:
            classes = self.roster.speed_classes(len(self.ledger.lanes))
            self._classes = (self.roster.revision, classes)
        return ClassView(self.roster, classes[index] if index < len(classes) else [])

    def _select(self, children: Roster | ClassView, count: int) -> list[str]:
        if not len(children) or count < 1:
            return []
        self._random.seed(self._seed + self.ledger.next_task)
        return self.policy.select(children, count, self._random, self._round, self.now)

    def _next_leg(self) -> tuple[list[str], int]:
        """The one child whose turn it is on the ring; the order of a lap is drawn anew from the seed."""
        children = sorted(self.roster.at(i) for i in range(len(self.roster)))
        if not children:
            return [], 1
        random.Random(self._seed + self.ledger.rounds_done).shuffle(children)
        return [children[self.ledger.leg % len(children)]], 1

    def _ask(self, index: int, chosen: list[str], need: int, quorum: int) -> None:
        ledger = self.ledger
        first = ledger.next_task
        self._log(records.Asked(index, first, tuple(chosen), need, quorum, self.now))
        model, round_ = self._model(), self._round
        for task, child in enumerate(chosen, first):
            self.roster.occupy(child)
            self._effects.append(Send(child, Work(task, model, round_)))

    def _set_deadline(self, index: int) -> None:
        self._do(SetTimer(f"deadline/{index}", self.now + self.role.deadline))

    # What children answer.

    def _report(self, child: str, report: Report) -> None:
        ask = self.ledger.asks.get(report.task)
        if ask is None:
            # Answered before (the receipt was lost), or so late that the request is forgotten.
            self._do(Send(child, Receipt(report.task, report.task not in self.ledger.refused)))
            return
        if ask.child != child:
            self._do(Count("refused", child, f"it answered a request made to {ask.child}"))
            return
        failed = report.failure is not None
        feedback = Feedback(report.samples, report.loss_rms, self.now - ask.at, failed)
        self.policy.observe(child, feedback, self._round)
        refusal = self._refusal(ask, report)
        if refusal is None and report.update is not None:
            self._log(records.Accepted(report.task, report.update, report.samples, report.devices))
        else:
            self._log(records.Resolved(report.task))
            self._do(Count(refusal or "failed", child, report.failure))
            if report.update is not None:
                self._do(Forget((report.update,)))
        self._do(Send(child, Receipt(report.task, refusal is None)))
        self._progress(ask.lane)

    def _refusal(self, ask: Ask, report: Report) -> str | None:
        """Why a report does not count; None if it does."""
        if report.update is None:
            return "failed"
        if self.ledger.ended or (not ask.open and self.role.tier.late == "drop"):
            return "late"
        if self.ledger.version - ask.version > self.role.tier.staleness_cap:
            return "stale"
        return None

    def _left(self, child: str) -> None:
        self.roster.remove(child)
        for lane in self.ledger.lanes:
            gone = [task for task in lane.asks if self.ledger.asks[task].child == child]
            for task in gone:
                self._log(records.Resolved(task))
                self._do(Count("left", child))
            if gone:
                self._progress(lane.index)

    def _progress(self, index: int) -> None:
        """Close the lane's round if it has what it needs, or can get no more."""
        lane = self.ledger.lanes[index]
        if not (lane.open and self.ledger.working):
            return
        if lane.fresh >= lane.need:
            self._close(index)
        elif self.role.mode == "async":
            self._top_up(index)
        if lane.open and not lane.asks:
            self._deadline(index)

    def _top_up(self, index: int) -> None:
        """Async mode: keep a cohort training."""
        lane = self.ledger.lanes[index]
        missing = self.role.tier.cohort_of(len(self.roster)) - len(lane.asks) if len(self.roster) else 0
        chosen = self._select(self.roster, missing)
        if chosen or not lane.open:
            self._ask(index, chosen, lane.need, lane.quorum)

    # Closing a round.

    def _deadline(self, index: int) -> None:
        """Time is up, or nobody is left to wait for."""
        lane = self.ledger.lanes[index]
        if lane.fresh >= lane.quorum:
            self._close(index)
        else:
            self._abandon(index, f"{lane.fresh} reports, the quorum is {lane.quorum}")

    def _abandon(self, index: int, why: str) -> None:
        self._do(Count("abandoned", self.name, why))
        self._log(records.Closed(index, moved=False, final=self._lap_is_over(), keep_since=math.inf))
        self._continue(index)

    def _close(self, index: int) -> None:
        keep_since = self.now - self.role.deadline if self.role.mode == "async" else math.inf
        pending = self.ledger.lanes[index].pending
        used = tuple(got.update for got in pending)
        if self.role.moves:
            self._do(self._move(index, pending))
        self._log(records.Closed(index, self.role.moves, self._lap_is_over(), keep_since))
        if self.role.parent is None:
            self._do(Forget(used))
        self._continue(index)

    def _move(self, index: int, pending: list[Got]) -> Move:
        return Move(
            base=self._model(),
            model=self._model(ahead=1),
            members=self._members(pending),
            inside=self.role.parent is not None,
            round=self._round,
            final=self._lap_is_over(),
            lane=index,
            lanes=len(self.ledger.lanes),
        )

    def _lap_is_over(self) -> bool:
        if self.role.mode != "ring" or not len(self.roster):
            return True
        return self.ledger.leg + 1 >= self.role.tier.cohort_of(len(self.roster))

    def _continue(self, index: int) -> None:
        """Go on after a round: the next one, the report to the parent, or the end."""
        lane = self.ledger.lanes[index]
        if self.ledger.rounds_done < self.role.rounds:
            if lane.asks:  # Async mode: the next buffer begins while the cohort trains on.
                self._top_up(index)
                self._set_deadline(index)
            else:
                self._open(index)
        elif self.role.parent is None:
            self._end()
        else:
            self._answer()

    def _answer(self) -> None:
        """Report to the parent."""
        ledger = self.ledger
        assert ledger.assigned is not None
        assert self.role.parent is not None
        task = ledger.assigned.task
        update, failure = update_key(self.role.parent, task), None
        waiting = ledger.waiting()
        samples = ledger.samples // max(1, ledger.rounds_done)
        if ledger.moved:
            self._do(Lift(self._model(), update))
        elif waiting and not self.role.moves:
            self._do(Merge(update, self._members(waiting)))
            samples = sum(got.samples for got in waiting)
        else:
            update, failure = None, "none of its rounds reached the quorum"
        report = Report(task, update, samples, self.roster.devices(), failure=failure)
        self._log(records.Posted(report))
        self._post()

    # Small things.

    @property
    def _round(self) -> int:
        """Round of the job: counted by the root, told by the parent elsewhere."""
        if self.role.parent is None or self.ledger.assigned is None:
            return self.ledger.rounds_done
        return self.ledger.assigned.round

    def _model(self, ahead: int = 0) -> str:
        """Key of the model that children get (or will get)."""
        if not self.role.moves and self.ledger.assigned is not None:
            return self.ledger.assigned.model
        return model_key(self.name, max(self.ledger.version, 0 if ahead == 0 else -1) + ahead)

    def _members(self, gots: list[Got]) -> tuple[Member, ...]:
        """Updates in canonical order: that of the requests, which the seed decides."""
        version = self.ledger.version
        return tuple(
            Member(got.update, version - got.version, got.child) for got in sorted(gots, key=lambda got: got.task)
        )

    def _log(self, record: records.Record) -> None:
        ledger = self.ledger
        ledger.apply(record)
        self._effects.append(Write(record))
        for child in ledger.take_released():
            self.roster.release(child)
        unused = ledger.take_unused()
        if unused and self.role.moves:
            self._do(Forget(tuple(model_key(self.name, version) for version in unused)))

    def _do(self, effect: Effect) -> None:
        self._effects.append(effect)
