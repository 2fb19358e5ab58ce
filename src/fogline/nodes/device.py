"""The state machine of a device: take work, do it, take the steps of an exchange, report until the parent has it.

A device has one machine for training, and one for what is asked beside it (evaluation, queries), with numbers of
requests of their own: neither kind of work waits for, or gives up, the other, and neither takes what is for the other.
"""

from __future__ import annotations

import math

import msgspec

from fogline.nodes.effects import Count, Effect, Examine, Forget, Send, Train, Write
from fogline.nodes.events import Event, Halt, Received, Started, StepComputed, TimerFired, Trained
from fogline.nodes.exchange import ChildExchange, state_key, superseded
from fogline.nodes.messages import Key, Kind, Receipt, Report, Step, Stop, Work, update_key
from fogline.nodes.outbox import RETRY, Outbox
from fogline.nodes.records import Assigned, Confirmed, Entered, JobOver, Posted, Record, Resolved, Stepped
from fogline.retries import Backoff

EXCHANGED = {"train": "train", "query": "answer a query", "evaluate": "judge a model"}
"""What may be asked for with the steps of an exchange, in words."""


class Device(msgspec.Struct, gc=False, eq=False):
    """A node with only an uplink."""

    name: str
    parent: str
    """Whose work it takes."""
    retry: Backoff | None = None
    """How long until unconfirmed reports are sent again; None where the runtime's links lose nothing."""
    demands: int | None = None
    """Steps of the job's exchange (beside the training: of that of queries), by the job that the device has itself: a
    parent that leaves them out to be sent an update, or an answer, as it is gets none. None: it takes what the parent
    says."""
    keeps: bool = False
    """Whether it keeps the last model that it got: the next may come as the difference to it."""
    held: Key | None = None
    """That model."""
    beside: bool = False
    """Whether it is the machine for what is asked beside the training; what is for the other machine, where other steps
    and other limits hold, is refused."""
    task: int = -1
    round: int = 0
    model: Key | None = None
    """What it trains on (or judges), while it does, and while it is in the exchange that follows."""
    steps: int = 0
    """Of that exchange; 0: there is none."""
    exchange: ChildExchange | None = None
    """Once it has trained."""
    computing: bool = False
    """Whether a step is being computed. No record says it: after a crash it begins anew."""
    kind: Kind = "train"
    query: str = ""
    effort: float = 1.0
    began: float = math.inf
    """When it began to train. No record says it: after a crash it begins anew."""
    summed: set[str] = msgspec.field(default_factory=set[str])
    """Queries whose answer it has brought into a sum. It brings none a second time: the difference of two sums that are
    of nearly the same devices tells what one has answered."""
    judged: int = -1
    """The last round of which it has brought what it found of the model into a sum: likewise, it brings nothing of that
    round, or of one before, a second time."""
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

    def expects_step(self, sender: str, step: Step) -> bool:
        """Whether that is the answer for which its exchange waits, so that the value of it may be stored."""
        return self.exchange is not None and not self.computing and self.exchange.awaits(step)

    def keys(self) -> set[Key]:
        """All values that are still needed. After a crash a runtime may delete every other one."""
        needed = self.outbox.keys() | {model for model in (self.model, self.held) if model is not None}
        return needed if self.exchange is None else needed.union(self.exchange.keys())

    def handle(self, event: Event, now: float) -> list[Effect]:
        """React to what happened at time ``now`` (seconds)."""
        if type(event) is Received:
            if event.sender != self.parent:
                return []
            message = event.message
            if type(message) is Work:
                return self._work(message, now)
            if type(message) is Receipt:
                return self._receipt(message, now)
            if type(message) is Step:
                return self._answered(message)
            return self._end() if type(message) is Stop else []
        if type(event) is Trained:
            return self._trained(event, now)
        if type(event) is StepComputed:
            return self._stepped(event, now)
        if type(event) is TimerFired:
            return self._send_reports(now) if event.timer == RETRY else []
        if type(event) is Started:
            return self._resume(now)
        return self._end() if type(event) is Halt else []

    def apply(self, record: Record) -> None:
        """Take over what a record says; the journal's replay calls this and nothing else."""
        if type(record) is Assigned:
            self.task, self.round, self.model, self.steps = record.task, record.round, record.model, record.steps
            self.kind, self.query, self.effort = record.kind, record.query, record.effort
            self.held = record.model if self.keeps else None
            self._leave_exchange()
        elif type(record) is Posted:
            self.model = None
            self._leave_exchange()
            self.outbox.post(record.report)
        elif type(record) is Entered:
            self.exchange = ChildExchange(self.name, self.parent, record.task, self.steps)
            self.apply_elsewhere(record)
        elif type(record) is Stepped:
            assert self.exchange is not None
            self.exchange.number = record.number
            self.outbox.enter(self.exchange.sends())
        elif type(record) is Resolved:
            self.model = None
            self._leave_exchange()
        elif type(record) is Confirmed:
            self.outbox.confirm(record.task)
        elif type(record) is JobOver:
            self.model, self.held, self.ended = None, None, True
            self._leave_exchange()
            self.outbox.clear()
        else:
            raise ValueError(f"A device's journal holds no {type(record).__name__}.")

    def apply_elsewhere(self, record: Record) -> None:
        """Take over what counts of a record of work for another parent: what the device has brought into a sum."""
        if type(record) is Entered:
            self.judged = max(self.judged, record.judged)
            if record.query:
                self.summed.add(record.query)

    def _leave_exchange(self) -> None:
        if self.exchange is not None:
            self.exchange, self.computing = None, False
            self.outbox.enter(None)

    def _log(self, record: Record) -> Write:
        self.apply(record)
        return Write(record)

    def _end(self) -> list[Effect]:
        return [] if self.ended else [self._log(JobOver())]

    def _work(self, work: Work, now: float) -> list[Effect]:
        if work.task in self.outbox.reports or (self.exchange is not None and work.task == self.exchange.task):
            return self._send_reports(now)  # Whoever asks again may have lost what was sent, or is back from a crash.
        if work.task <= self.task:
            return []  # A copy of a request that was taken before.
        if self.ended:
            return [Send(self.parent, Report(work.task, None, failure="it was halted"))]
        if (work.kind != "train") != self.beside:
            mine = "what is asked beside the training" if self.beside else "training"
            why = f"it was asked to {work.kind} where it takes requests for {mine} alone"
            return [Send(self.parent, Report(work.task, None, failure=why))]
        if work.kind in EXCHANGED and self.demands not in (None, work.steps):
            asked = f"it was asked to {EXCHANGED[work.kind]} with {work.steps} steps of an exchange"
            why = f"{asked}, and the job has {self.demands}"
            return [Send(self.parent, Report(work.task, None, failure=why))]
        if (why := self._told(work)) is not None:
            return [Send(self.parent, Report(work.task, None, failure=why))]
        # Whoever asks anew has given the older request up: its training is not worth going on with.
        given_up, unneeded = self.model is not None, () if self.exchange is None else self.exchange.used()
        asked = Assigned(
            *(work.task, work.round, work.model), kind=work.kind, query=work.query, steps=work.steps, effort=work.effort
        )
        effects: list[Effect] = [self._log(asked)]
        if given_up:
            effects.append(Count("superseded", self.name))
        if unneeded:
            effects.append(Forget(unneeded))
        effects.append(self._train(work.model, now))
        return effects

    def _told(self, work: Work) -> str | None:
        """Why it must not bring what it is asked for into a sum again; None if it may."""
        if work.kind == "query" and work.query in self.summed:
            return "its answer to that query is in a sum already, and the difference of two would tell it"
        if work.kind == "evaluate" and work.steps and work.round <= self.judged:
            return "what it found of that round's model is in a sum already, and the difference of two would tell it"
        return None

    def _train(self, model: Key, now: float) -> Train | Examine:
        parent, task, self.began = self.parent, self.task, now
        update = state_key(parent, task, 0) if self.steps else update_key(parent, task)
        if self.kind == "train":
            return Train(task, model, update, self.round, self.effort)
        return Examine(task, model, update, self.round, self.kind, self.query)

    def _trained(self, event: Trained, now: float) -> list[Effect]:
        if event.task != self.task or self.model is None:
            # Newer work came in between; or it is a copy, and the update is about to be reported.
            return [] if event.task in self.outbox.reports else [Forget((event.update,))]
        if self.steps and not event.failure:
            query = self.query if self.kind == "query" else ""
            judged = self.round if self.kind == "evaluate" else -1
            return [self._log(Entered(event.task, query=query, judged=judged)), self._compute(None)]
        update = None if event.failure else event.update
        took = max(0.0, now - self.began) if self.kind == "train" and update else None
        report = Report(event.task, update, event.samples, 1, event.loss_rms, event.failure, took)
        return [self._log(Posted(report)), *self._send_reports(now)]

    def _compute(self, received: Key | None) -> Effect:
        assert self.exchange is not None
        self.computing = True
        return self.exchange.compute(received)

    def _answered(self, step: Step) -> list[Effect]:
        """The parent answered to a step: the next one begins."""
        return [self._compute(step.value)] if self.expects_step(self.parent, step) else []

    def _stepped(self, event: StepComputed, now: float) -> list[Effect]:
        """A step was computed: it is sent, and the last one is the report."""
        done = None if self.exchange is None else self.exchange.computed(event)
        if done is None:  # Newer work came in between.
            return [Forget(superseded(self.parent, event, event.task in self.outbox.reports))]
        record, unneeded = done
        self.computing = False
        return [self._log(record), *self._send_reports(now), Forget(unneeded)]

    def _send_reports(self, now: float) -> list[Effect]:
        return self.outbox.send(self.parent, now, self.retry)

    def _receipt(self, receipt: Receipt, now: float) -> list[Effect]:
        if receipt.task not in self.outbox.reports:
            at = self.exchange
            if at is None or receipt.task != at.task:
                return []
            return [self._log(Resolved(receipt.task, "missing", now)), Forget(at.used())]
        held = self.outbox.held(receipt.task)
        effects: list[Effect] = [self._log(Confirmed(receipt.task, receipt.accepted))]
        if held:
            effects.append(Forget(held))
        return effects

    def _resume(self, now: float) -> list[Effect]:
        effects = self._send_reports(now)
        if self.model is not None and self.exchange is None:
            effects.append(self._train(self.model, now))
        elif self.exchange is not None and self.exchange.number < 0:
            effects.append(self._compute(None))
        return effects
