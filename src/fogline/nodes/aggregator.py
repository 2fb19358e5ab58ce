"""The state machine of an aggregator: the cloud, a fog, or any node between.

It asks children for updates of its model, waits with a quorum and a deadline, and closes the round: an
aggregator without a parent moves its model; one with a parent merges its children's updates into one for the
parent, or first makes rounds of its own.

State that must survive a crash changes only in ``apply``, from records that are written to the
journal first; replaying them gives the state back. Effects before a record may be carried out twice, if the node
crashes between them: they name where they start and where they put the result, so the second time replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fogline.nodes import records
from fogline.nodes.asking import Asking
from fogline.nodes.children.roster import Presence
from fogline.nodes.effects import (
    AddUp,
    Adopt,
    Combine,
    Count,
    Effect,
    Finished,
    Forget,
    GroupUpdate,
    Merge,
    Move,
    Send,
    SetTimer,
)
from fogline.nodes.events import (
    Event,
    Halt,
    Joined,
    Left,
    Received,
    Scored,
    Started,
    StepComputed,
    TimerFired,
    UpdatesChecked,
)
from fogline.nodes.exchange import state_key
from fogline.nodes.exchange_rounds import ParentExchange
from fogline.nodes.ledger import AcceptedUpdate, Lane, OpenRequest
from fogline.nodes.messages import Hello, Key, Message, Receipt, Report, Step, Stop, Work, model_key, update_key
from fogline.nodes.outbox import RETRY
from fogline.nodes.policies import Selection
from fogline.nodes.quorum import REASONS, Quorum, Sift
from fogline.nodes.role import AggregatorRole


class Aggregator(Asking):
    """A node with a downlink, and an uplink unless it is the root.

    Args:
        role: what it is in the job.
        policy: selects the children of a round. What it learned from reports comes back with the journal; what it
            keeps of its own selections (TiFL's tiers and credits, Oort's pace) begins anew after a crash.
        presence: whether a child can be asked at a time.
        sift: which of the updates that wait are none; None where every update that is reported is one.
    """

    def __init__(
        self, role: AggregatorRole, policy: Selection, presence: Presence | None = None, sift: Sift | None = None
    ) -> None:
        super().__init__(role, policy, presence)
        self.sift = sift
        self._quorum = Quorum(role, self.ledger)
        if role.steps:
            self._steps = ParentExchange(
                role,
                self.ledger,
                log=self._log,
                do=self._do,
                acknowledge=self._acknowledge,
                progress=self._progress,
                abandon=self._abandon,
                wait=self._set_deadline,
            )
        self._unsifted: dict[int, bool] = {}
        """Lanes that may close once their updates are looked at, and whether their time is up."""
        self._gathered_at = -math.inf
        """When the children that come now are asked together."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """React to what happened at time ``now`` (seconds)."""
        self.now = now
        self._effects = effects = []
        if type(event) is Received:  # By far the most frequent.
            if type(event.message) is Report:
                self._report(event.sender, event.message)
            elif event.sender == self.role.parent:
                self._from_parent(event.sender, event.message)
            elif type(event.message) is Step and self._steps is not None:  # Also of a request before this one.
                self._steps.take(event.sender, event.message)
            return effects
        match event:
            case TimerFired(timer=timer):
                self._fired(timer)
            case Joined(child=child, hello=hello):
                self._joined(child, hello)
            case Left(child=child):
                self._left(child)
            case UpdatesChecked():
                self._sifted()
            case StepComputed(upward=True) if self._uplink is not None:
                self._uplink.computed(event)
            case Scored(scores=scores) if scores and self.ledger.reputation is not None:
                self._log(records.Rated(scores))
            case StepComputed() if self._steps is not None:
                self._steps.computed(event, now)
            case Started():
                self._started()
            case Halt():
                self._end()
            case _:
                pass
        return effects

    def expects(self, child: str, task: int) -> bool:
        """Whether an update of that child for that request may be stored. A runtime asks before it stores one
        that came with a report: what a node has folded and forgotten must not come back as a copy, and nobody
        may replace another child's update."""
        ask = self.ledger.asks.get(task)
        return ask is not None and ask.child == child

    def expects_step(self, sender: str, step: Step) -> bool:
        """The same of what a child sends in a step of an exchange, or the parent answers to one."""
        if sender == self.role.parent:
            return self._uplink is not None and self._uplink.expects(step)
        return self._exchange is not None and self._exchange.expects(sender, step)

    def combines(self, accepted: Sequence[AcceptedUpdate]) -> Combine | None:
        """What takes the last step of an exchange on these updates; None where there is no exchange, and they are
        folded as they are."""
        return None if self._exchange is None else self._exchange.combine(accepted)

    def keys(self) -> set[Key]:
        """All values that are still needed. After a crash a runtime may delete every other one."""
        first = {model_key(self.name, 0)} if self.role.parent is None and self.ledger.assigned is None else set[Key]()
        return self.ledger.keys() | first

    # Starting, ending, timers.

    def _started(self) -> None:
        ledger = self.ledger
        if ledger.reputation is not None:
            ledger.reputation.begin()
            self._tell(ledger.reputation)
        if ledger.assigned is None and self.role.parent is None:
            self._log(records.Assigned(task=0, round=0, model=model_key(self.name, 0)))
        self.roster.occupy(ledger.busy)
        self._post()
        if self._exchange is not None:
            for lane in ledger.lanes:
                self._exchange.begin(lane.index, self.now)
        if self._uplink is not None:
            self._uplink.resume()
        self._wake()

    def _wake(self) -> None:
        """Go on in every lane."""
        for lane in self.ledger.lanes:
            if lane.open and self.ledger.working:
                self._set_deadline(lane.index)
                self._progress(lane.index)
            elif self.ledger.working:
                self._continue(lane.index)

    def _end(self) -> None:
        if not self.ledger.ended:
            self._log(records.JobOver())
            self._do(Finished())

    def _fired(self, timer: str) -> None:
        kind, _, index = timer.partition("/")
        if kind == RETRY:
            self._post()
        elif self.ledger.working:
            lane = self.ledger.lanes[int(index)]
            if kind == "deadline" and lane.open:
                self._deadline(lane.index)
            elif kind == "open" and not lane.open:
                self._continue(lane.index)

    # Children come and go.

    def _joined(self, child: str, hello: Hello) -> None:
        ledger, first = self.ledger, not len(self.roster)
        self.roster.add(child, hello)
        if ledger.ended:
            self._do(Send(child, Stop()))
            return
        ask = ledger.set_absent(child, absent=False)
        if ledger.is_behind(hello.task):
            ledger.catch_up(hello.task)
        if ask is not None and ledger.busy[child] < hello.task:
            self._ask_anew(child, ask)
        elif ask is not None:  # The request, or its answer, may have been lost with the connection.
            self._do(Send(child, self._request(ledger.busy[child], ledger.models[ask.version], ask.effort)))
        # While nobody is there no lane has a timer, so the first to come wakes all, even if it cannot be asked.
        if first or self.roster.can_be_asked(child, self.now):
            self._welcome(first)

    def _ask_anew(self, child: str, ask: OpenRequest) -> None:
        """This node went back to a backup: the child answered the request long ago, and takes later numbers only."""
        self._log(records.Resolved(self.ledger.busy[child], "forgotten", self.now))
        self._do(Count("forgotten", child, "it has later requests of this node, which went back to a backup"))
        lane = self.ledger.lanes[ask.lane]
        alone = not self.ledger.ring_order and self._exchange is None
        if lane.open and self.ledger.working and alone:
            self._ask(lane.index, (child,), lane.need, lane.quorum, ())
        self._progress(lane.index)

    def _welcome(self, first: bool) -> None:
        """Somebody is there for the lanes that wait."""
        self._fill_up(0)
        idle = [lane.index for lane in self.ledger.lanes if self.ledger.working and not lane.open]
        if self.role.join_window == 0:
            for index in idle:
                if self.ledger.working:  # Not after the first lane's answer.
                    self._continue(index)
        elif idle and (first or self.now >= self._gathered_at):
            self._gathered_at = self.now + self.role.join_window
            for index in idle:
                self._do(SetTimer(f"open/{index}", self._gathered_at))

    def _left(self, child: str) -> None:
        ask = self.ledger.set_absent(child, absent=True)
        self.roster.remove(child)
        if ask is not None:  # It may come back and answer; until the deadline that counts.
            self._do(Count("left", child))
            self._progress(ask.lane)

    # The uplink.

    def _from_parent(self, parent: str, message: Message) -> None:
        match message:
            case Work():
                self._work(parent, message)
            case Receipt(task=task, accepted=accepted):
                self._receipt(task, accepted)
            case Step() if self._uplink is not None:
                self._uplink.answered(message)
            case Stop():
                self._end()
            case _:
                pass

    def _work(self, parent: str, work: Work) -> None:
        ledger = self.ledger
        if work.task in ledger.outbox.reports or (self._uplink is not None and self._uplink.is_in(work.task)):
            self._post()
        if ledger.assigned is not None and work.task <= ledger.assigned.task:
            return  # A copy of a request that was taken before.
        why = self._refuses(work)
        if why:
            self._do(Send(parent, Report(work.task, None, failure=why)))
            return
        then: list[Effect] = []
        for lane in ledger.lanes:
            if self._exchange is not None or self.role.traits.private:
                then += self._give_up(lane)
            else:
                self._leave_out_failed(lane)  # What waits is carried on as updates.
        if self.role.moves:
            base = ledger.model if ledger.version >= 0 else None
            self._do(Adopt(work.model, base, model_key(self.name, ledger.version + 1)))
        goes_on = self.role.mode in ("async", "semi-async") and self._exchange is None
        keep_since = self.now - self.role.wait if goes_on else math.inf
        self._log(records.Assigned(work.task, work.round, work.model, keep_since, work.kind, work.query, work.steps))
        self._effects += then
        self._waits.clear()
        self._wake()

    def _receipt(self, task: int, accepted: bool) -> None:
        outbox = self.ledger.outbox
        if self._uplink is not None and self._uplink.is_in(task):
            self._uplink.broken_off()
        if task not in outbox.reports:
            return
        held, inside = outbox.held(task), outbox.inside.get(task, ())
        self._log(records.Confirmed(task, accepted))
        if inside and not accepted:
            self._do(Count("dropped", self.name, f"the parent refused a report with {len(inside)} updates"))
        # Only now may the updates inside the report be forgotten: the parent has them on disk.
        self._do(Forget(held))

    # What children are asked, and answer.

    def _open(self, index: int) -> None:
        """Begin a round of a lane, or wait where nobody can be asked."""
        given_up = self._begin(index)
        if given_up:
            self._abandon(index, given_up)
        else:
            self._progress(index)  # Async children may have brought enough while the parent was asked for more.

    def _report(self, child: str, report: Report) -> None:
        task = report.task
        ask = self.ledger.asks.get(task)
        if ask is None:
            self._unexpected(child, report)
            return
        if ask.child != child:
            self._do(Count("refused", child, f"it answered a request made to {ask.child}"))
            return
        own = update_key(self.name, task)
        refusal = self._quorum.refusal(ask, report, own)
        if refusal is None:
            self.roster.measured(child, self.now - ask.at)
            if self._quorum.is_stale(ask):
                self._do(Count("clipped", child, REASONS["stale"]))
            said = report.samples, self.now, report.loss_rms, report.training
            self._log(records.Accepted(task, own, report.devices, *said, report.marks))
        else:
            self._log(records.Resolved(task, refusal, self.now, report.samples, report.loss_rms, report.training))
            self._do(Count(refusal, child, report.failure or REASONS.get(refusal)))
            if report.update is not None:
                self._do(Forget((own,)))
        self._acknowledge(child, task, refusal is None)
        if refusal is None and self.role.mode == "async":
            self._fill_up(ask.lane)  # A failure leaves the place empty, lest who always fails is asked on and on.
        self._progress(ask.lane)

    def _unexpected(self, child: str, report: Report) -> None:
        """Answered before (the receipt was lost), or so late that the request is forgotten; or made up."""
        if not 0 <= report.task < self.ledger.next_task:
            self._do(Count("refused", child, "it answered a request that was never made"))
            return
        self._acknowledge(child, report.task, self.ledger.accepted(report.task))

    def _acknowledge(self, child: str, task: int, accepted: bool) -> None:
        self._effects.append(Send(child, Receipt(task, accepted)))
        if self.ledger.ended:
            self._do(Send(child, Stop()))

    def _progress(self, index: int) -> None:
        """Close the lane's round if it has what it needs, or can get no more."""
        lane = self.ledger.lanes[index]
        if not (lane.open and self.ledger.working):
            return
        if self._exchange is not None and self._exchange.goes_on(lane):
            self._exchange.go_on(lane)
            return
        if lane.fresh < lane.need and not self._quorum.nobody_comes(lane):
            return
        if not self._leave_out_failed(lane):
            self._unsifted.setdefault(index, False)
        elif lane.fresh >= lane.need and not self._quorum.lacks(lane):
            self._close(index)
        elif self._quorum.nobody_comes(lane):
            self._deadline(index)

    def _leave_out_failed(self, lane: Lane) -> bool:
        """Before it is decided whether a round counts: updates that turn out to be none do not. False where it is not
        known yet which."""
        failed = self.sift(lane.pending) if self.sift is not None and lane.pending else {}
        if not failed:
            return failed is not None
        spoiled = [one for one in lane.pending if one.task in failed]
        self._log(records.Spoiled(lane.index, tuple(one.task for one in spoiled)))
        for one in spoiled:
            self._do(Count("failed", one.child, failed[one.task]))
        self._do(Forget(tuple(one.update for one in spoiled)))
        return True

    def _sifted(self) -> None:
        """Go on where that was not known."""
        lanes, self._unsifted = self._unsifted, {}
        for index, late in lanes.items():
            if self.ledger.lanes[index].open and self.ledger.working:
                go_on = self._deadline if late else self._progress
                go_on(index)

    # Closing a round.

    def _deadline(self, index: int) -> None:
        """Time is up, or nobody is left to wait for."""
        lane = self.ledger.lanes[index]
        if self._exchange is not None and self._exchange.goes_on(lane):
            self._exchange.go_on(lane, late=True)
            return
        if not self._leave_out_failed(lane):
            self._unsifted[index] = True
            return
        why = self._quorum.lacks(lane)
        if why:
            self._abandon(index, why)
        else:
            self._close(index)

    def _abandon(self, index: int, why: str) -> None:
        if self.role.mode == "ring" and self.ledger.hops_met and self._final() and not self._quorum.ring_lacks():
            self._close(index)  # The last hop was lost, and enough have moved the model before it.
            return
        then = self._give_up(self.ledger.lanes[index])
        self._log(records.Closed(index, False, self._final(), self.role.keep_since(self.now), self.now))
        self._effects += then
        self._do(Count("abandoned", self.name, why))
        self._continue(index)

    def _give_up(self, lane: Lane) -> list[Effect]:
        """A round does not count: what came of it waits for the next one, unless rounds stand apart. What is to be done
        once the journal says so."""
        if self._exchange is not None:
            return self._exchange.give_up(lane)
        if not (self.role.traits.private and lane.pending):
            return []
        dropped = tuple(lane.pending)
        self._log(records.Spoiled(lane.index, tuple(one.task for one in dropped)))
        for one in dropped:
            self._do(Count("unfinished", one.child, "its round did not count, and no other may use its update"))
        return [Forget(tuple(one.update for one in dropped))]

    def _close(self, index: int) -> None:
        lane = self.ledger.lanes[index]
        pending, final = lane.pending, self._final()
        unneeded, combined = [], None
        combine = self.combines(pending)
        if combine is not None and self._exchange is not None:
            self._do(combine)
            unneeded += (*self._exchange.over(lane), *(member.update for member in combine.members))
            combined = combine.update
            pending = self.ledger.combined(pending, combined)
        if self.role.parent is None:
            unneeded += [one.update for one in pending]
        why = self._quorum.ring_lacks() if final else ""
        if self.role.moves:
            self._do(self._move(index, pending, final and not why))
        self._log(records.Closed(index, True, final, self.role.keep_since(self.now), self.now, combined))
        if why:
            self._do(Count("abandoned", self.name, why))
        if unneeded:
            self._do(Forget(tuple(unneeded)))
        self._continue(index)

    def _move(self, index: int, pending: list[AcceptedUpdate], final: bool) -> Move:
        ledger = self.ledger
        return Move(
            base=ledger.model,
            model=model_key(self.name, ledger.version + 1),
            members=ledger.members(pending),
            inside=self.role.parent is not None,
            round=self.ledger.round,
            final=final,
            lane=0 if self.role.grouped else index,
            lanes=1 if self.role.grouped else len(ledger.lanes),
            devices=ledger.devices(pending)[0],
        )

    def _final(self) -> bool:
        """Whether a round is over when it closes: a hop of a ring is not, unless it is the last of its ring_order."""
        return not self._selection.ring_goes_on(self.now)

    def _continue(self, index: int) -> None:
        """Go on after a round: the next one, the report to the parent, or the end."""
        if self.ledger.rounds_done < self.role.rounds:
            self._open(index)
        elif self.role.parent is None:
            self._end()
        else:
            self._answer(self.role.parent)

    def _answer(self, parent: str) -> None:
        """Report to the parent what the rounds since its request made of the children's updates."""
        ledger = self.ledger
        assert ledger.assigned is not None
        if self._exchange is not None:
            self._exchange.give_up_open(self.now)
        task, used = ledger.assigned.task, ledger.used
        update = update_key(parent, task)
        if not used:
            report = Report(task, None, failure="none of its rounds reached the quorum")
        elif self._uplink is not None and ledger.assigned.steps:
            self._do(self._result(state_key(parent, task, 0), used))
            self._uplink.enter(task, *ledger.devices(used))
            return
        else:
            self._do(self._result(update, used))
            rounds = max(1, ledger.rounds_done)  # However many it made: the group is as heavy as in one round.
            samples = 0 if self.role.traits.private else ledger.samples // rounds
            devices, marks = ledger.devices(used)
            report = Report(task, update, samples, devices, marks=marks)
        self._log(records.Posted(report))
        self._post()

    def _result(self, update: Key, used: Sequence[AcceptedUpdate]) -> GroupUpdate | Merge | AddUp:
        """What makes the report's value of the children's."""
        ledger, assigned = self.ledger, self.ledger.assigned
        if assigned is not None and assigned.kind != "train":
            return AddUp(update, ledger.members(used), self.name if self.role.lowest else "")
        if self.role.moves:
            return GroupUpdate(ledger.model, update, ledger.round)
        return Merge(update, ledger.members(used), ledger.round)
