"""The state machine of a device: take work, do it, report until the parent has it.

What it is asked for does not matter to it. A device has one machine for training, and one for what is asked beside it
(evaluation, queries), with numbers of requests of their own: neither kind of work waits for, or gives up, the other.
"""

from __future__ import annotations

import msgspec

from fogline.nodes.effects import Count, Effect, Examine, Forget, Send, Train, Write
from fogline.nodes.events import Event, Halt, Received, Started, TimerFired, Trained
from fogline.nodes.messages import Key, Kind, Receipt, Report, Stop, Work, update_key
from fogline.nodes.outbox import RETRY, Outbox
from fogline.nodes.records import Assigned, Confirmed, JobOver, Posted, Record


class Device(msgspec.Struct, gc=False, eq=False):
    """A node with only an uplink."""

    name: str
    parent: str
    """Whose work it takes."""
    retry: float | None = None
    """Seconds until unconfirmed reports are sent again, doubled each time up to a minute; None where the runtime's
    links lose nothing."""
    task: int = -1
    round: int = 0
    model: Key | None = None
    """What it trains on (or judges), while it does."""
    kind: Kind = "train"
    query: str = ""
    outbox: Outbox = msgspec.field(default_factory=Outbox)
    ended: bool = False

    @property
    def idle(self) -> bool:
        """Whether it neither trains nor waits for a receipt."""
        return self.model is None and not self.outbox.reports

    @property
    def over(self) -> bool:
        """Whether the job is over at this node."""
        return self.ended

    @property
    def population(self) -> int:
        """Devices below it: it is one itself."""
        return 1

    def expects(self, child: str, task: int) -> bool:
        """Whether an update of that child for that request may be stored: it has no children."""
        return False

    def keys(self) -> set[Key]:
        """All values that are still needed. After a crash a runtime may delete every other one."""
        return self.outbox.keys() | ({self.model} if self.model is not None else set())

    def handle(self, event: Event, now: float) -> list[Effect]:
        """React to what happened at time ``now`` (seconds)."""
        if type(event) is Received:
            if event.sender != self.parent:
                return []
            message = event.message
            if type(message) is Work:
                return self._work(message, now)
            if type(message) is Receipt:
                return self._receipt(message)
            return self._end() if type(message) is Stop else []
        if type(event) is Trained:
            return self._trained(event, now)
        if type(event) is TimerFired:
            return self._send_reports(now) if event.timer == RETRY else []
        if type(event) is Started:
            return self._resume(now)
        return self._end() if type(event) is Halt else []

    def apply(self, record: Record) -> None:
        """Take over what a record says; the journal's replay calls this and nothing else."""
        if type(record) is Assigned:
            self.task, self.round, self.model = record.task, record.round, record.model
            self.kind, self.query = record.kind, record.query
        elif type(record) is Posted:
            self.model = None
            self.outbox.post(record.report)
        elif type(record) is Confirmed:
            self.outbox.confirm(record.task)
        elif type(record) is JobOver:
            self.model, self.ended = None, True
            self.outbox.clear()
        else:
            raise ValueError(f"A device's journal holds no {type(record).__name__}.")

    def _log(self, record: Record) -> Write:
        self.apply(record)
        return Write(record)

    def _end(self) -> list[Effect]:
        return [] if self.ended else [self._log(JobOver())]

    def _work(self, work: Work, now: float) -> list[Effect]:
        if work.task in self.outbox.reports:
            return self._send_reports(now)
        if work.task <= self.task:
            return []  # A copy of a request that was taken before.
        if self.ended:
            return [Send(self.parent, Report(work.task, None, failure="it was halted"))]
        # Whoever asks anew has given the older request up: its training is not worth going on with.
        superseded = self.model is not None
        effects: list[Effect] = [
            self._log(Assigned(work.task, work.round, work.model, kind=work.kind, query=work.query))
        ]
        if superseded:
            effects.append(Count("superseded", self.name))
        effects.append(self._train(work.model))
        return effects

    def _train(self, model: Key) -> Train | Examine:
        update = update_key(self.parent, self.task)
        if self.kind == "train":
            return Train(self.task, model, update, self.round)
        return Examine(self.task, model, update, self.round, self.kind, self.query)

    def _trained(self, event: Trained, now: float) -> list[Effect]:
        if event.task != self.task or self.model is None:
            # Newer work came in between; or it is a copy, and the update is about to be reported.
            return [] if event.task in self.outbox.reports else [Forget((event.update,))]
        update = None if event.failure else event.update
        report = Report(event.task, update, event.samples, 1, event.loss_rms, event.failure)
        return [self._log(Posted(report)), *self._send_reports(now)]

    def _send_reports(self, now: float) -> list[Effect]:
        return self.outbox.send(self.parent, now, self.retry)

    def _receipt(self, receipt: Receipt) -> list[Effect]:
        if receipt.task not in self.outbox.reports:
            return []
        held = self.outbox.held(receipt.task)
        effects: list[Effect] = [self._log(Confirmed(receipt.task, receipt.accepted))]
        if held:
            effects.append(Forget(held))
        return effects

    def _resume(self, now: float) -> list[Effect]:
        effects = self._send_reports(now)
        if self.model is not None:
            effects.append(self._train(self.model))
        return effects
