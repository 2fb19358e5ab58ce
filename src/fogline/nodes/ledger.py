"""What an aggregator must not forget: requests, updates, rounds. Changed by records only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fogline.nodes import records
from fogline.nodes.messages import Key, Report


@dataclass(slots=True)
class Ask:
    """A request to a child that has no answer yet."""

    child: str
    version: int
    lane: int
    at: float
    open: bool = True
    """False once its round closed without it: an answer is late."""


@dataclass(frozen=True, slots=True)
class Got:
    """An update that waits to be folded."""

    task: int
    child: str
    update: Key
    version: int
    samples: int
    devices: int


@dataclass(slots=True)
class Lane:
    """A sequence of rounds; semi-async mode has one a speed class, every other mode one."""

    index: int
    open: bool = False
    asks: dict[int, None] = field(default_factory=dict)
    """Open requests, in order."""
    pending: list[Got] = field(default_factory=list)
    fresh: int = 0
    """Reports to requests of the round that is open."""
    need: int = 1
    quorum: int = 1


class Ledger:
    """State of an aggregator that survives a crash.

    Args:
        lanes: how many.
        memory: versions for which an unanswered request is remembered.
    """

    def __init__(self, lanes: int, memory: int) -> None:
        self.memory = memory
        self.version = -1
        """Version of the model that children get; counts the parent's models and the own moves."""
        self.next_task = 0
        self.assigned: records.Assigned | None = None
        self.rounds_done = 0
        self.leg = 0
        self.moved = False
        """Whether the model moved since the parent's request."""
        self.samples = 0
        self.asks: dict[int, Ask] = {}
        self.lanes = [Lane(i) for i in range(lanes)]
        self.used: list[Key] = []
        """Updates that went into the model since the parent's request."""
        self.outbox: dict[int, tuple[Report, tuple[Key, ...]]] = {}
        """Reports without a receipt, each with the updates inside it."""
        self.refused: set[int] = set()
        self.ended = False
        self._uses: dict[int, int] = {}
        self._released: list[str] = []
        self._unused: list[int] = []

    @property
    def working(self) -> bool:
        """Whether it has something to do for its parent (or, at the root, for the job)."""
        return not self.ended and self.assigned is not None and self.assigned.task not in self.outbox

    def apply(self, record: records.Record) -> None:
        """Take over what a record says."""
        match record:
            case records.Asked():
                self._asked(record)
            case records.Accepted():
                self._accepted(record)
            case records.Resolved(task=task):
                self._answered(task)
                self._refuse(task)
            case records.Closed():
                self._closed(record)
            case records.Assigned():
                self._assigned(record)
            case records.Posted(report=report):
                self._posted(report)
            case records.Confirmed(task=task):
                self.outbox.pop(task, None)
            case records.Ended():
                self.ended = True
                self._release(math.inf)

    def take_released(self) -> list[str]:
        """Children whose requests are no longer open; each is told once."""
        released, self._released = self._released, []
        return released

    def take_unused(self) -> list[int]:
        """Model versions that no request needs any more; each is told once."""
        unused, self._unused = self._unused, []
        return unused

    def waiting(self) -> list[Got]:
        """All updates that wait to be folded, in canonical order."""
        return sorted((got for lane in self.lanes for got in lane.pending), key=lambda got: got.task)

    def _asked(self, record: records.Asked) -> None:
        lane = self.lanes[record.lane]
        if not lane.open:
            lane.open, lane.fresh = True, 0
        lane.need, lane.quorum = record.need, record.quorum
        for task, child in enumerate(record.children, record.first):
            self.asks[task] = Ask(child, self.version, record.lane, record.at)
            lane.asks[task] = None
        self.next_task = record.first + len(record.children)
        self._uses[self.version] = self._uses.get(self.version, 0) + len(record.children)

    def _answered(self, task: int) -> Ask:
        ask = self.asks.pop(task)
        lane = self.lanes[ask.lane]
        if ask.open:
            del lane.asks[task]
            self._released.append(ask.child)
        self._leave(ask.version)
        return ask

    def _accepted(self, record: records.Accepted) -> None:
        ask = self._answered(record.task)
        lane = self.lanes[ask.lane]
        lane.fresh += ask.open
        lane.pending.append(
            Got(record.task, ask.child, record.update, ask.version, record.samples, record.devices)
        )

    def _closed(self, record: records.Closed) -> None:
        lane = self.lanes[record.lane]
        lane.open = False
        self._release(record.keep_since, lane)
        self.rounds_done += record.final
        self.leg = 0 if record.final else self.leg + 1
        if record.moved:
            self.moved = True
            self.samples += sum(got.samples for got in lane.pending)
            self.used += [got.update for got in lane.pending]
            lane.pending = []
            self._next_version()

    def _assigned(self, record: records.Assigned) -> None:
        self.assigned = record
        self.rounds_done, self.leg, self.samples, self.moved = 0, 0, 0, False
        self._release(math.inf)
        for lane in self.lanes:
            lane.open = False
        self._next_version()

    def _posted(self, report: Report) -> None:
        if not self.moved and report.update is not None:
            for lane in self.lanes:
                self.used += [got.update for got in lane.pending]
                lane.pending = []
        self.outbox[report.task] = (report, tuple(self.used))
        self.used = []

    def _next_version(self) -> None:
        old, self.version = self.version, self.version + 1
        if old >= 0 and not self._uses.get(old):
            self._unused.append(old)
        for task in [t for t, ask in self.asks.items() if not ask.open and self._too_old(ask)]:
            self._answered(task)
            self._refuse(task)

    def _too_old(self, ask: Ask) -> bool:
        return self.version - ask.version > self.memory

    def _leave(self, version: int) -> None:
        left = self._uses[version] - 1
        if left:
            self._uses[version] = left
        else:
            del self._uses[version]
            if version != self.version:
                self._unused.append(version)

    def _release(self, keep_since: float, only: Lane | None = None) -> None:
        """Requests made before that time are no longer open."""
        for lane in self.lanes if only is None else (only,):
            for task in [t for t in lane.asks if self.asks[t].at < keep_since]:
                self.asks[task].open = False
                del lane.asks[task]
                self._released.append(self.asks[task].child)

    def _refuse(self, task: int) -> None:
        self.refused.add(task)
        if len(self.refused) > 20_000:  # Only a courtesy to repeated reports; the newest are enough.
            self.refused = set(sorted(self.refused)[10_000:])
