"""What an aggregator keeps, whom it asks and when, and until when it waits: its machine before answers come."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from fogline.nodes import records
from fogline.nodes.children.pace import Pace
from fogline.nodes.children.reputation import Reputation
from fogline.nodes.children.roster import Presence, Roster
from fogline.nodes.deadline import round_deadline
from fogline.nodes.effects import Count, Effect, Forget, Send, SetTimer, Write
from fogline.nodes.exchange_rounds import ParentExchange
from fogline.nodes.exchange_uplink import UplinkExchange
from fogline.nodes.learning import Learner, Learning
from fogline.nodes.ledger import Ledger
from fogline.nodes.messages import Key, Work
from fogline.nodes.policies import Selection
from fogline.nodes.role import AggregatorRole
from fogline.nodes.selection import CohortSelection

POLL = 60.0
"""Seconds after which children that could not be asked are looked at again."""


class Asking:
    """What an aggregator keeps, and how it begins a round.

    Args:
        role: what it is in the job.
        policy: selects the children of a round.
        presence: whether a child can be asked at a time.
    """

    def __init__(self, role: AggregatorRole, policy: Selection, presence: Presence | None) -> None:
        self.role = role
        self.name = role.name
        self.policy = policy
        self.ledger = Ledger(role)
        self.roster = Roster(
            presence,
            role.deadline,
            self.ledger.busy,
            idle=role.keeps_idle,
            classes=role.lanes if role.mode == "semi-async" and not role.grouped else None,
            barred=None if self.ledger.reputation is None else self.ledger.reputation.barred,
        )
        self.now = 0.0
        self.pace = Pace() if role.tier.keeps_pace else None
        self._selection = CohortSelection(role, policy, self.roster, self.ledger, self.pace)
        learners: list[Learner] = [] if self.pace is None else [self.pace]
        if type(policy).observe is not Selection.observe:
            learners.append(policy)
        self._learning = Learning(learners, self.ledger) if learners else None
        self._steps: ParentExchange | None = None
        self._uplink: UplinkExchange | None = None
        if role.demands and role.parent is not None:
            self._uplink = UplinkExchange(
                role.name, role.parent, self.ledger, log=self._log, do=self._do, post=self._post
            )
        self._waits: dict[int, float] = {}
        """Lanes that wait because nobody can be asked, and since when."""
        self._effects: list[Effect] = []

    def apply(self, record: records.Record) -> None:
        """Take over what a record says; the journal's replay calls this and nothing else."""
        if self._learning is not None:
            self._learning.learn(record)
        self.ledger.apply(record)

    def apply_elsewhere(self, record: records.Record) -> None:
        """A record of work for another parent: nothing of it counts here."""

    @property
    def _exchange(self) -> ParentExchange | None:
        """Its part in the exchange of the round, where what it asks for now has one."""
        return self._steps if self.ledger.has_steps else None

    def _post(self) -> None:
        """Send the parent every report that has no receipt."""
        if self.role.parent is not None:
            self._effects += self.ledger.outbox.send(self.role.parent, self.now, self.role.retry)

    @property
    def over(self) -> bool:
        """Whether the job is over at this node."""
        return self.ledger.ended

    @property
    def task(self) -> int:
        """The highest number of a request of the parent that was taken; -1: none."""
        return -1 if self.ledger.assigned is None else self.ledger.assigned.task

    @property
    def population(self) -> int:
        """How many devices are below the aggregator."""
        return self.roster.devices()

    @property
    def round(self) -> int:
        """Of the job, counted from 0."""
        return self.ledger.round

    def _refuses(self, work: Work) -> str:
        """Why it does not take a request; empty if it does."""
        demands = self.role.demands
        if self.ledger.ended:
            return "it was halted"
        if work.kind in self.role.exchanged and work.steps != demands:
            return f"it was asked for a sum with {work.steps} steps of an exchange, and the job has {demands}"
        return ""

    def _begin(self, index: int) -> str:
        """Begin a round of a lane, or wait where nobody can be asked; why it has waited long enough, if it has."""
        cohort = self._selection.cohort(index, self.ledger.round, self.now)
        if cohort.short and not self.ledger.lanes[index].asks:
            return "" if self._waits_on(index) else cohort.short
        self._waits.pop(index, None)
        self._ask(index, cohort.children, cohort.need, cohort.quorum, cohort.ring_order)
        if self._exchange is not None:
            self._exchange.begin(index, self.now)
        self._set_deadline(index)
        return ""

    def _waits_on(self, index: int) -> bool:
        """Wait for children that are enough for a round to count; False where that took as long as a round may."""
        if not len(self.roster) and (self.role.parent is None or index > 0):
            return True  # The root has nobody to answer to; it begins when somebody comes.
        if self._selection.can_count(index) and self._selection.lacks_turns(index, self.ledger.round):
            if self._waits.pop(index, None) is not None:
                return False
            self._waits[index] = self.now
            self._do(SetTimer(f"open/{index}", self.now))  # Not at once: a whole period of such rounds may follow.
            return True
        until = self.now + self.role.deadline
        if self._selection.can_count(index) or not any(
            self._selection.can_count(lane.index) for lane in self.ledger.lanes
        ):
            until = self._waits.setdefault(index, self.now) + self.role.deadline
        # Else it is a class of speed that has too few children now: it is looked at again, but has no rounds to lose.
        if self.now >= until:
            del self._waits[index]
            return False
        self._do(SetTimer(f"open/{index}", min(self.now + POLL, until)))
        return True

    def _ask(self, index: int, children: Sequence[str], need: int, quorum: int, ring_order: Sequence[str]) -> None:
        ledger = self.ledger
        first, efforts = ledger.next_task, tuple(self.policy.efforts(children))
        self._log(records.Asked(index, first, tuple(children), need, quorum, self.now, tuple(ring_order), efforts))
        model, request = ledger.model, self._request
        self.roster.occupy(children)
        self._effects += [
            Send(child, request(task, model, effort))
            for task, (child, effort) in enumerate(zip(children, efforts or repeat(1.0), strict=False), first)
        ]

    def _request(self, task: int, model: Key, effort: float) -> Work:
        assigned = self.ledger.assigned
        if assigned is None or assigned.kind == "train":
            return Work(task, model, self.ledger.round, steps=self.role.steps, effort=effort)
        steps = self.role.steps if self.ledger.has_steps else 0
        return Work(task, model, self.ledger.round, assigned.kind, assigned.query, steps)

    def _fill_up(self, index: int) -> None:
        """Async mode: keep a cohort training."""
        lane = self.ledger.lanes[index]
        if self.role.mode == "async" and lane.open and self.ledger.working:
            # While a full buffer lacks devices, those that are in it need not train for it again.
            full = lane.fresh >= lane.need
            inside = {one.child for one in lane.pending} if full else ()
            chosen = self._selection.fill_up(self.ledger.round, self.now, without=inside)
            if chosen:
                self._ask(index, chosen, lane.need, lane.quorum, ())

    def _set_deadline(self, index: int) -> None:
        until = round_deadline(self.role, self.now, self.ledger.hops, self.pace)
        if self._exchange is not None:
            until = min(self._exchange.deadline(index), until)
        self._do(SetTimer(f"deadline/{index}", until))

    def _log(self, record: records.Record) -> None:
        self.apply(record)
        self._effects.append(Write(record))
        ledger = self.ledger
        if ledger.released:
            for child in ledger.released:
                self.roster.release(child)
            ledger.released.clear()
        if ledger.unused:
            self._do(Forget(tuple(ledger.unused)))
            ledger.unused.clear()

        if ledger.reputation is not None and ledger.reputation.news:
            self._tell(ledger.reputation)

    def _tell(self, reputation: Reputation) -> None:
        """Children went into quarantine, or come out of it."""
        for child, barred, why in reputation.news:
            if barred:
                self.roster.bar(child)
            else:
                self.roster.admit(child)
            self._do(Count("quarantined" if barred else "released", child, why))
        reputation.news.clear()

    def _do(self, effect: Effect) -> None:
        self._effects.append(effect)
