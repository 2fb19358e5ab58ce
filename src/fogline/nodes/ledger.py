"""What an aggregator must not forget: requests, updates, rounds. Changed by records only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import takewhile
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from fogline.nodes import records
from fogline.nodes.children.reputation import Reputation
from fogline.nodes.effects import FoldInput
from fogline.nodes.exchange import ChildExchange, RoundExchange
from fogline.nodes.messages import Key, Marks, model_key
from fogline.nodes.outbox import Outbox

if TYPE_CHECKING:
    from fogline.nodes.role import AggregatorRole  # It reads jobs, which a device's agent does not.

MARK, MOST_MARKS = 8, 1 << 17
"""Bytes of a device's mark; and devices that a report names: those over it do not count for the root's minimum."""


class OpenRequest(msgspec.Struct, gc=False, eq=False):
    """A request to a child that has no answer yet."""

    child: str
    version: int
    lane: int
    at: float
    effort: float = 1.0
    """Of a round's work, how much it was asked for."""
    open: bool = True
    """False once its round closed without it: an answer is late, or surplus."""
    surplus: bool = False
    """Whether its round closed because enough others had answered."""
    absent: bool = False
    """Whether the child went away since. Connections do not survive a crash, so no record says it."""

    def __eq__(self, other: object) -> bool:
        """Whether records say the same of both."""
        return isinstance(other, OpenRequest) and (
            (self.child, self.version, self.lane, self.at, self.effort, self.open, self.surplus)
            == (other.child, other.version, other.lane, other.at, other.effort, other.open, other.surplus)
        )


class AcceptedUpdate(msgspec.Struct, frozen=True, gc=False):
    """An update that waits to be folded, or is in a result that is not safe at the parent yet."""

    task: int
    child: str
    update: Key
    version: int
    samples: int
    devices: int
    lane: int
    late: bool = False
    """Whether its round was over when it came."""
    marks: Marks = b""
    """The devices in it, where the child said that."""


@dataclass(slots=True)
class Lane:
    """A sequence of rounds; semi-async mode has one a speed class, every other mode one."""

    index: int
    open: bool = False
    asks: dict[int, None] = field(default_factory=dict[int, None])
    """Open requests, in order."""
    pending: list[AcceptedUpdate] = field(default_factory=list[AcceptedUpdate])
    fresh: int = 0
    """Reports since the last round closed that were not late."""
    need: int = 1
    quorum: int = 1
    spoiled: int = 0
    """Updates of this round that turned out to be none: their places stay empty, as those of failures do."""
    absent: int = field(default=0, compare=False)
    """Open requests to children that went away."""


FAR, FAR_OFF = 1 << 20, 1 << 24
"""Requests that a node cannot have forgotten, at once and in all: what is kept of each is a bit."""


class Ledger:
    """State of an aggregator that survives a crash. Every record costs the same for any number of children."""

    def __init__(self, role: AggregatorRole) -> None:
        self.version = -1
        """Version of the model that children get; counts the parent's models and the own moves."""
        self.models: dict[int, Key] = {}
        """Keys of the versions that may still be needed: the last two, and those of requests that may count."""
        self.next_task = 0
        self.assigned: records.Assigned | None = None
        self.answered = False
        """Whether the parent's request has its report."""
        self.rounds_done = 0
        self.rounds_counted = self.last_counted = 0
        """Of them, those that did not come to nothing; and which was the last, from 1."""
        self.samples = 0
        self.asks: dict[int, OpenRequest] = {}
        self.busy: dict[str, int] = {}
        """Children with an open request, and which."""
        self.lanes = [Lane(i) for i in range(role.lanes)]
        self.ring_order: list[str] = []
        """Ring mode: children whose turn is still to come, the next one last."""
        self.hops = 1
        """Ring mode: length of the ring,"""
        self.hops_met = 0
        """and how many of its hops have moved the model."""
        self.used: list[AcceptedUpdate] = []
        """Updates in the group's model, or in its next report, since the parent's request."""
        self.outbox = Outbox()
        self.exchanges = [RoundExchange(role.steps) for _ in range(role.lanes)] if role.steps else []
        """Of the round that is open in each lane; none where there is no exchange."""
        self.up: ChildExchange | None = None
        """With the parent, at whose end there is the report."""
        terms = role.tier.quarantine
        self.reputation = None if terms is None else Reputation(terms, role.tier.reports_wanted(role.least))
        """Of the children, where some may be in quarantine."""
        self.dropped: Counter[str] = Counter()
        """Updates that will not count, by reason."""
        self.ended = False
        self._role = role
        self._taken = bytearray()
        """One bit a task: whether its update was accepted. Receipts are repeated from it, however late."""
        self._late: dict[int, None] = {}
        """Requests without an answer whose round is over, in the order of closing."""
        self._holds: dict[int, int] = {}
        """Requests that keep a version's model."""
        self.released: list[str] = []
        """Async mode: children whose requests are no longer open; whoever has taken note of them clears the list."""
        self.unused: list[Key] = []
        """The node's own values that nobody needs any more; likewise."""

    @property
    def working(self) -> bool:
        """Whether it has something to do for its parent (or, at the root, for the job)."""
        return not self.ended and self.assigned is not None and not self.answered

    @property
    def has_steps(self) -> bool:
        """Whether what it asks for now is given in the steps of an exchange."""
        return bool(self.exchanges) and (self.assigned is None or self.assigned.kind in self._role.exchanged)

    @property
    def rounds_lost(self) -> int:
        """Rounds that came to nothing. Where not all were made, without those after the last that counted: the job was
        ended during them, or because of them."""
        over = self.rounds_done if self.rounds_done >= self._role.rounds else self.last_counted
        return over - self.rounds_counted

    @property
    def hops_needed(self) -> int:
        """Ring mode: hops that a ring needs to count as a round; 0 in others."""
        return self._role.tier.quorum_of(self.hops) if self._role.mode == "ring" else 0

    @property
    def model(self) -> Key:
        """The model that children get."""
        return self.models[self.version]

    @property
    def round(self) -> int:
        """Round of the job: counted by the root, told by the parent elsewhere."""
        if self._role.parent is None or self.assigned is None:
            return self.rounds_done
        return self.assigned.round

    def accepted(self, task: int) -> bool:
        """Whether the update of that request was accepted, ever."""
        return 0 <= task >> 3 < len(self._taken) and bool(self._taken[task >> 3] & 1 << (task & 7))

    def is_behind(self, task: int) -> bool:
        """Whether a child has taken a request of a number that was not given yet, by what is known here: this node
        went back to a backup. Numbers that are far off are nobody's."""
        return self.next_task <= task < min(self.next_task + FAR, FAR_OFF)

    def catch_up(self, task: int) -> None:
        """Give later numbers from now on; the next request that is made writes that down."""
        self.next_task = task + 1

    def keys(self) -> set[Key]:
        """All values that are still needed. After a crash a runtime may delete every other one."""
        waiting = [one.update for lane in self.lanes for one in lane.pending]
        used = [one.update for one in self.used]
        steps = [key for exchange in self.exchanges for key in exchange.keys(self._role.name)]
        up = () if self.up is None else self.up.keys()
        held = [self.assigned.model] if self._role.keeps and self.assigned is not None else []
        return {*self.models.values(), *held, *waiting, *used, *self.outbox.keys(), *steps, *up}

    def members(self, accepted: Iterable[AcceptedUpdate]) -> tuple[FoldInput, ...]:
        """Updates as they go into an aggregate, in canonical order."""
        most = self._role.tier.staleness_cap if self._role.tier.stale == "clip" else self.version
        return tuple(
            FoldInput(one.update, min(self.version - one.version, most), one.child) for one in in_order(accepted)
        )

    def reported(self, accepted: Iterable[AcceptedUpdate]) -> list[AcceptedUpdate]:
        """Those that were reported in the exchange of this round, in the order of their requests; others come from
        rounds before, and stand for what an exchange came to."""
        if not self.exchanges:
            return []
        return in_order(one for one in accepted if one.task >= self.exchanges[one.lane].first)

    def combined(self, pending: list[AcceptedUpdate], key: Key | None) -> list[AcceptedUpdate]:
        """What waits, with one update in place of those that an exchange made it of. ``key``: None if there is none."""
        if key is None:
            return pending
        accepted = self.reported(pending)
        samples, first = sum(one.samples for one in accepted), accepted[0]
        devices, marks = self.devices(accepted)
        one = AcceptedUpdate(first.task, self._role.name, key, first.version, samples, devices, first.lane, marks=marks)
        return [*(other for other in pending if other not in accepted), one]

    def devices(self, accepted: Iterable[AcceptedUpdate]) -> tuple[int, Marks]:
        """How many different devices are behind updates; and which, where reports say that."""
        if not self._role.marks:
            return devices_in(accepted), b""
        marks = sorted({mark for one in accepted for mark in _marks_of(one)})[:MOST_MARKS]
        return len(marks), b"".join(marks)

    def set_absent(self, child: str, absent: bool) -> OpenRequest | None:
        """A child with an open request went away or came back; gives the request."""
        task = self.busy.get(child)
        if task is None:
            return None
        ask = self.asks[task]
        self.lanes[ask.lane].absent += absent - ask.absent
        ask.absent = absent
        return ask

    def apply(self, record: records.Record) -> None:
        """Take over what a record says."""
        if isinstance(record, records.Accepted):  # By far the most frequent.
            self._accept(record)
            return
        match record:
            case records.Resolved(task=task, why=why):
                self._answered(task)
                self.dropped[why] += 1
            case records.Spoiled():
                self._spoil(record)
            case records.Asked():
                self._ask(record)
            case records.StepTaken(task=task):
                self.exchanges[self.asks[task].lane].came[task] = None
            case records.Advanced():
                self._advance(record)
            case records.Closed():
                self._close(record)
            case records.Assigned():
                self._assign(record)
            case records.Entered(task=task, devices=devices, marks=marks):
                assert self.assigned is not None
                assert self._role.parent is not None
                self.up = ChildExchange(self._role.name, self._role.parent, task, self.assigned.steps, devices, marks)
                self.outbox.hold(task, self._hand_over())
            case records.Stepped(number=number):
                assert self.up is not None
                self.up.number = number
                self.outbox.enter(self.up.sends())
            case records.Rated(scores=scores):
                assert self.reputation is not None
                self.reputation.judge(scores)
            case records.Posted(report=report):
                self.outbox.post(report, self._hand_over())
                self._leave()
            case records.Confirmed(task=task, accepted=accepted):
                if self.up is not None and self.up.task == task:
                    self._leave()
                inside = self.outbox.confirm(task)
                if not accepted:
                    self.dropped["refused above"] += len(inside)
            case records.JobOver():
                self.ended = True
                self._give_up()
                for lane in self.lanes:
                    self._begin_exchange(lane.index, self.next_task)
                    self._release(lane, math.inf)

    def _hand_over(self) -> tuple[Key, ...]:
        """The updates that the parent gets now: this request is answered."""
        inside = tuple(one.update for one in self.used)
        self.used, self.answered = [], True
        return inside

    def _leave(self) -> None:
        """The exchange with the parent is over."""
        self.up = None
        self.outbox.enter(None)

    def _give_up(self) -> None:
        """The exchange with the parent comes to no report. What was brought may be in the parent's sum all the same, so
        nobody may use it again."""
        if self.up is not None:
            inside = self.outbox.confirm(self.up.task)
            self.dropped["unfinished"] += len(inside)
            self.unused += [*inside, *self.up.used()]
            self._leave()

    def _ask(self, record: records.Asked) -> None:
        lane, version = self.lanes[record.lane], self.version
        lane.open, lane.need, lane.quorum = True, record.need, record.quorum
        for task, child in enumerate(record.children, record.first):
            effort = record.efforts[task - record.first] if record.efforts else 1.0
            self.asks[task] = OpenRequest(child, version, record.lane, record.at, effort)
            self.busy[child] = task
            lane.asks[task] = None
        self.next_task = record.first + len(record.children)
        self._holds[version] = self._holds.get(version, 0) + len(record.children)
        self._begin_exchange(record.lane, record.first)
        if record.ring_order:
            self.ring_order, self.hops, self.hops_met = list(reversed(record.ring_order)), len(record.ring_order), 0
        while self.ring_order and self.ring_order.pop() != record.children[0]:
            pass  # Those before it were passed over.

    def _begin_exchange(self, lane: int, first: int) -> None:
        if self.exchanges:
            self.exchanges[lane].begin(first)

    def _advance(self, record: records.Advanced) -> None:
        exchange = self.exchanges[record.lane]
        for task in record.gone:
            self._answered(task)
        self.dropped["missing"] += len(record.gone)
        exchange.number, exchange.came = record.number + 1, {}
        exchange.answered = tuple(self.lanes[record.lane].asks)

    def _answered(self, task: int) -> OpenRequest:
        ask = self.asks.pop(task)
        if self.exchanges:
            self.exchanges[ask.lane].came.pop(task, None)
        if ask.open:
            lane = self.lanes[ask.lane]
            del lane.asks[task]
            self._free(lane, task, ask)
            self._holds[ask.version] -= 1
        else:
            del self._late[task]
            if self._keeps_late:
                self._holds[ask.version] -= 1
        return ask

    def _accept(self, record: records.Accepted) -> None:
        task = record.task
        ask = self._answered(task)
        lane = self.lanes[ask.lane]
        lane.fresh += ask.open
        devices, late = record.devices, not ask.open
        accepted = AcceptedUpdate(
            task, ask.child, record.update, ask.version, record.samples, devices, ask.lane, late, record.marks
        )
        lane.pending.append(accepted)
        taken, place = self._taken, task >> 3
        if place >= len(taken):
            taken.extend(bytes(place + 1 - len(taken)))
        taken[place] |= 1 << (task & 7)

    def _spoil(self, record: records.Spoiled) -> None:
        lane, tasks = self.lanes[record.lane], frozenset(record.tasks)
        lane.fresh -= sum(one.task in tasks and not one.late for one in lane.pending)
        lane.pending = [one for one in lane.pending if one.task not in tasks]
        lane.spoiled += len(tasks)
        self.dropped["failed"] += len(tasks)

    def _close(self, record: records.Closed) -> None:
        lane = self.lanes[record.lane]
        # Where younger requests stay open (async), those that end are the ones that took too long.
        surplus = lane.fresh >= lane.need and record.keep_since == math.inf
        self.hops_met += lane.fresh
        lane.open, lane.fresh, lane.spoiled = False, 0, 0
        self._release(lane, record.keep_since, surplus)
        self.rounds_done += record.final
        if record.final and record.met and self.hops_met >= self.hops_needed:
            self.rounds_counted, self.last_counted = self.rounds_counted + 1, self.rounds_done
        if self.reputation is not None:
            self.reputation.close_round()
        if record.final:
            self.ring_order, self.hops_met = [], 0
        if not record.met:
            self._begin_exchange(lane.index, self.next_task)
            return  # What waits is carried into the next round.
        lane.pending = self.combined(lane.pending, record.combined)
        self._begin_exchange(lane.index, self.next_task)
        if self._role.parent is not None:
            self.samples += sum(one.samples for one in lane.pending)
            self.used += lane.pending
        lane.pending = []
        if self._role.moves:
            self._next_version(model_key(self._role.name, self.version + 1))

    def _assign(self, record: records.Assigned) -> None:
        self._give_up()
        self.assigned, self.answered = record, False
        self.rounds_done = self.rounds_counted = self.last_counted = self.samples = self.hops_met = 0
        self.ring_order = []
        for lane in self.lanes:
            self._begin_exchange(lane.index, self.next_task)
            if record.keep_since == math.inf:
                lane.open, lane.fresh, lane.spoiled = False, 0, 0
            self._release(lane, record.keep_since)
        if record.kind == "train" and self._role.traits.private:
            # They are in a sum that was given out with noise, and may not be in another.
            self.unused += [got.update for got in self.used]
            self.dropped["unfinished"] += len(self.used)
        elif record.kind == "train":
            # The parent went on without the round's result, and its new model replaces the group's. The updates that
            # were in it are folded again, as old as they are by now: they have been acknowledged.
            for got in self.used:
                self.lanes[got.lane].pending.append(got)
        else:
            self._drop_answers()
        self.used = []
        moves = self._role.moves
        self._next_version(model_key(self._role.name, self.version + 1) if moves else record.model)

    def _drop_answers(self) -> None:
        """Sums answer one question: those that wait for an older one are nobody's any more."""
        for lane in self.lanes:
            self.unused += [got.update for got in lane.pending]
            lane.pending = []
        self.unused += [got.update for got in self.used]

    def _next_version(self, key: Key) -> None:
        self.version += 1
        self.models[self.version] = key
        for version in [v for v in self.models if v < self.version - 1 and not self._holds.get(v)]:
            unused = self.models.pop(version)
            self._holds.pop(version, None)
            if self._role.moves:  # A parent's model is not the node's to delete.
                self.unused.append(unused)
        oldest = self.version - self._role.tier.staleness_cap
        for task in list(takewhile(lambda task: self.asks[task].version < oldest, self._late)) if self._late else ():
            self._answered(task)
            self.dropped["unanswered"] += 1

    @property
    def _keeps_late(self) -> bool:
        return self._role.tier.late == "fold"

    def _release(self, lane: Lane, keep_since: float, surplus: bool = False) -> None:
        """Requests made before that time are no longer open."""
        if not lane.asks:
            return
        for task in list(takewhile(lambda task: self.asks[task].at < keep_since, lane.asks)):
            ask = self.asks[task]
            ask.open, ask.surplus = False, surplus
            del lane.asks[task]
            self._late[task] = None
            self._free(lane, task, ask)
            if not self._keeps_late:
                self._holds[ask.version] -= 1

    def _free(self, lane: Lane, task: int, ask: OpenRequest) -> None:
        lane.absent -= ask.absent
        ask.absent = False
        if self.busy.get(ask.child) == task:
            del self.busy[ask.child]
            if self._role.keeps_idle:
                self.released.append(ask.child)


_task = attrgetter("task")


def devices_in(accepted: Iterable[AcceptedUpdate]) -> int:
    """Different devices behind updates; of a child that brought several, those of its fullest."""
    most: dict[str, int] = {}
    for one in accepted:
        child, devices = one.child, one.devices
        if devices > most.get(child, 0):
            most[child] = devices
    return sum(most.values())


def mark_of(device: str) -> bytes:
    """What stands for a device in a report: eight bytes. Two devices with one mark count as one, never as more."""
    return blake2b(device.encode(), digest_size=MARK).digest()


def _marks_of(one: AcceptedUpdate) -> Iterable[bytes]:
    """The devices in an update: a child that names none stands for itself."""
    marks = one.marks or mark_of(one.child)
    return (marks[at : at + MARK] for at in range(0, len(marks), MARK))


def in_order(accepted: Iterable[AcceptedUpdate]) -> list[AcceptedUpdate]:
    """Updates in canonical order: that of the requests, which the seed decides."""
    return sorted(accepted, key=_task)
